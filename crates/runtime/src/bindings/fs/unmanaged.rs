//! Descriptors that a worker opened and nothing of the library will close: they are closed at its end
//! (`trackUnmanagedFds`). Source: `Environment::AddUnmanagedFd` of `src/env.cc`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use crate::env::Env;
use crate::threads::Thread;

/// The descriptors of this thread.
#[derive(Default)]
struct Unmanaged(RefCell<BTreeSet<i32>>);

fn tracks(env: &Env) -> bool {
    let thread = env.extension::<Thread>();
    thread.worker().is_some_and(|worker| worker.tracks_fds)
}

/// A descriptor was opened.
pub fn add(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, fd: i32) {
    if tracks(env) && !env.extension::<Unmanaged>().0.borrow_mut().insert(fd) {
        let text = format!("File descriptor {fd} opened in unmanaged mode twice");
        super::emit_warning(scope, env, &[&text]);
    }
}

/// A descriptor is closed.
pub fn remove(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, fd: i32) {
    if tracks(env) && !env.extension::<Unmanaged>().0.borrow_mut().remove(&fd) {
        let text = format!("File descriptor {fd} closed but not opened in unmanaged mode");
        super::emit_warning(scope, env, &[&text]);
    }
}

/// Closes those that are left.
pub fn close_all(env: &Env) {
    let left = env.extension::<Unmanaged>().0.take();
    if let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) {
        for fd in left {
            // It may be closed by another thread already.
            let _ = kernel.close(&process, fd);
        }
    }
}
