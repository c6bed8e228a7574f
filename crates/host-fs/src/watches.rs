//! Watching what is beneath a directory: one inotify object for this OS process, with one thread while anything is watched.
//!
//! A watch is set on an opened handle, so that no path is walked a second time: it stays with the file that was found.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use secure_exec_kernel::{Errno, Result, WatchEvent, WatchKind, WatchSink};

use crate::errno;

/// Watches of this OS process. The host's kernel has a limit for the user besides.
const WATCHES_MAX: usize = 16_384;
/// Bytes of events that are read at once.
const BUFFER_BYTES: usize = 16 << 10;

const INTEREST: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CREATE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO);
/// What changes something and leaves its name.
const CHANGES: ReadFlags = ReadFlags::ATTRIB.union(ReadFlags::MODIFY);
/// What is no event of a file's.
const NOTICES: ReadFlags = ReadFlags::IGNORED
    .union(ReadFlags::QUEUE_OVERFLOW)
    .union(ReadFlags::UNMOUNT)
    .union(ReadFlags::ISDIR);

struct Subscriber {
    id: u64,
    own_name: Arc<[u8]>,
    sink: Arc<dyn WatchSink>,
}

#[derive(Default)]
struct State {
    next: u64,
    by_watch: HashMap<i32, Vec<Subscriber>>,
    has_thread: bool,
}

struct Hub {
    inotify: OwnedFd,
    state: Mutex<State>,
    count: AtomicUsize,
}

/// A watch until it is dropped.
pub(crate) struct HostWatch {
    hub: &'static Hub,
    watch: i32,
    id: u64,
}

fn hub() -> Result<&'static Hub> {
    static HUB: OnceLock<Hub> = OnceLock::new();
    if let Some(hub) = HUB.get() {
        return Ok(hub);
    }
    let inotify = inotify::init(CreateFlags::CLOEXEC).map_err(errno)?;
    Ok(HUB.get_or_init(|| Hub {
        inotify,
        state: Mutex::default(),
        count: AtomicUsize::new(0),
    }))
}

/// Tells `sink` what happens to what was opened as `fd`, or in it if it is a directory.
pub(crate) fn watch(fd: &OwnedFd, own_name: &[u8], sink: Arc<dyn WatchSink>) -> Result<HostWatch> {
    let hub = hub()?;
    let taken = hub
        .count
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
            (count < WATCHES_MAX).then_some(count + 1)
        });
    taken.map_err(|_| Errno::ENOSPC)?;
    let added = hub.add(fd, own_name, sink);
    if added.is_err() {
        hub.count.fetch_sub(1, Ordering::AcqRel);
    }
    added
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(
        &'static self,
        fd: &OwnedFd,
        own_name: &[u8],
        sink: Arc<dyn WatchSink>,
    ) -> Result<HostWatch> {
        let handle = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let mut state = self.state();
        // Set under the lock: events of it wait until it is known, and nobody else ends a watch of the same file.
        let watch = inotify::add_watch(&self.inotify, handle, INTEREST).map_err(errno)?;
        let id = state.next;
        state.next += 1;
        state.by_watch.entry(watch).or_default().push(Subscriber {
            id,
            own_name: Arc::from(own_name),
            sink,
        });
        if !state.has_thread {
            let thread = std::thread::Builder::new().name("secure-exec watch".to_owned());
            if thread.spawn(|| self.deliver()).is_err() {
                self.remove(&mut state, watch, id);
                return Err(Errno::EAGAIN);
            }
            state.has_thread = true;
        }
        drop(state);
        Ok(HostWatch {
            hub: self,
            watch,
            id,
        })
    }

    fn remove(&self, state: &mut State, watch: i32, id: u64) {
        let Some(subscribers) = state.by_watch.get_mut(&watch) else {
            return;
        };
        subscribers.retain(|subscriber| subscriber.id != id);
        if subscribers.is_empty() {
            state.by_watch.remove(&watch);
            // It may have gone with its file. If not, the thread hears of its end.
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    /// Delivers events until nothing is watched any more.
    fn deliver(&self) {
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            let due = match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| Arc::from(name.to_bytes()));
                    self.due(event.wd(), event.events(), name)
                }
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => {
                    self.state().has_thread = false;
                    return;
                }
            };
            for (sink, event) in due {
                sink.event(event);
            }
            let mut state = self.state();
            if state.by_watch.is_empty() {
                state.has_thread = false;
                return;
            }
        }
    }

    /// Who is to hear of an event.
    fn due(
        &self,
        watch: i32,
        events: ReadFlags,
        name: Option<Arc<[u8]>>,
    ) -> Vec<(Arc<dyn WatchSink>, WatchEvent)> {
        let mut state = self.state();
        if events.contains(ReadFlags::IGNORED) {
            // The number may be used again.
            state.by_watch.remove(&watch);
        }
        let what = events.difference(NOTICES);
        let kinds = [
            (what.intersects(CHANGES), WatchKind::Change),
            (!what.difference(CHANGES).is_empty(), WatchKind::Rename),
        ];
        let mut due = Vec::new();
        for subscriber in state.by_watch.get(&watch).into_iter().flatten() {
            for (_, kind) in kinds.iter().filter(|(happened, _)| *happened) {
                let event = WatchEvent {
                    kind: *kind,
                    name: name.clone().unwrap_or_else(|| subscriber.own_name.clone()),
                };
                due.push((subscriber.sink.clone(), event));
            }
        }
        due
    }
}

impl Drop for HostWatch {
    fn drop(&mut self) {
        self.hub.remove(&mut self.hub.state(), self.watch, self.id);
        self.hub.count.fetch_sub(1, Ordering::AcqRel);
    }
}
