use secure_exec_runtime::{engine, env, event_loop, realm, snapshot};
use std::time::Instant;
fn main() {
    let (tx, rx) = std::sync::mpsc::channel();
    engine::spawn("build".into(), 16 << 20, move || {
        let t = Instant::now();
        let blob = snapshot::build();
        eprintln!("built in {:?}", t.elapsed());
        tx.send(blob).unwrap();
    })
    .unwrap();
    let blob: &'static [u8] = match rx.recv().unwrap() {
        Ok(blob) => Box::leak(blob.into_boxed_slice()),
        Err(e) => {
            eprintln!("{e}");
            std::process::exit(1)
        }
    };
    eprintln!("blob {} KB", blob.len() / 1024);
    for i in 0..5 {
        let (tx, rx) = std::sync::mpsc::channel();
        engine::spawn("guest".into(), 8 << 20, move || {
            let t = Instant::now();
            let mut _tasks = None;
            let mut isolate = v8::Isolate::new(snapshot::create_params(blob));
            isolate.set_microtasks_policy(v8::MicrotasksPolicy::Explicit);
            let t1 = t.elapsed();
            let shared = env::Shared::new(isolate.thread_safe_handle(), event_loop::Inbox::default());
            _tasks = Some(engine::TaskOwner::new(&isolate, shared.inbox.clone()));
            let env = env::Env::install(&mut isolate, shared);
            {
                v8::scope!(let scope, &mut isolate);
                let context = snapshot::main_context(scope).unwrap();
                let scope = &mut v8::ContextScope::new(scope, context);
                assert!(snapshot::restore(scope, &env, context));
                let t2 = t.elapsed();
                env.set_options(env::ProcessOptions { argv: vec!["node".into()], pid: 1, ..Default::default() });
                env.clock().restart(secure_exec_runtime::clock::Mitigation::default());
                v8::tc_scope!(let scope, scope);
                let r = (|| {
                    let pre = realm::require_builtin(scope, &env, "internal/process/pre_execution")?;
                    let k = v8::String::new(scope, "prepareMainThreadExecution").unwrap();
                    let f: v8::Local<v8::Function> = pre.get(scope, k.into()).unwrap().try_into().unwrap();
                    let a = v8::Boolean::new(scope, false).into();
                    let b = v8::Boolean::new(scope, true).into();
                    f.call(scope, pre.into(), &[a, b]).ok_or(secure_exec_runtime::throw::Throw::Pending)
                })();
                if r.is_err() {
                    let e = scope.exception().unwrap();
                    let e = v8::Local::<v8::Object>::try_from(e).unwrap();
                    let k = v8::String::new(scope, "stack").unwrap();
                    eprintln!("pre: {}", e.get(scope, k.into()).unwrap().to_rust_string_lossy(scope));
                }
                let t3 = t.elapsed();
                let src = std::env::args().nth(1).unwrap_or("process._rawDebug(1)".into());
                let src = if std::path::Path::new(&src).exists() { std::fs::read_to_string(&src).unwrap() } else { src };
                let require = env.registered(scope, "requireBuiltin").unwrap();
                let binding = env.registered(scope, "internalBinding").unwrap();
                let global = context.global(scope);
                realm::set(scope, global, "__require", require);
                let write = |scope: &mut v8::PinScope, args: v8::FunctionCallbackArguments, _: v8::ReturnValue| {
                    println!("{}", args.get(0).to_rust_string_lossy(scope));
                };
                let write = v8::Function::new(scope, write).unwrap();
                realm::set(scope, global, "__write", write.into());
                realm::set(scope, global, "internalBinding", binding);
                let write = v8::Function::new(
                    scope,
                    |scope: &mut v8::PinScope<'_, '_>, args: v8::FunctionCallbackArguments<'_>, _: v8::ReturnValue| {
                        println!("{}", args.get(0).to_rust_string_lossy(scope));
                    },
                )
                .unwrap();
                realm::set(scope, global, "__write", write.into());
                let src = format!(
                    "globalThis.require = (id) => __require(id.replace(/^node:/, ''));
                     globalThis.print = (...a) => __write(a.map((x) => typeof x === 'string' ? x : require('internal/util/inspect').inspect(x)).join(' '));
                     {src}"
                );
                let src = v8::String::new(scope, &src).unwrap();
                if i == 0 {
                    let script = v8::Script::compile(scope, src, None).unwrap();
                    if script.run(scope).is_none() {
                        let e = scope.exception().unwrap();
                        let e = v8::Local::<v8::Object>::try_from(e).unwrap();
                        let k = v8::String::new(scope, "stack").unwrap();
                        eprintln!("{}", e.get(scope, k.into()).unwrap().to_rust_string_lossy(scope));
                    }
                    env.run_event_loop(scope);
                    eprintln!("exit {:?} {}", env.shared().latch.get(), env.emit_exit(scope));
                    if let Some(error) = env.take_uncaught() {
                        eprintln!("uncaught {error:?}");
                    }
                }
                eprintln!("isolate {t1:?} context {t2:?} pre {t3:?} heap {}", scope.get_heap_statistics().used_heap_size() / 1024);
            }
            env.release_handles();
            tx.send(()).unwrap();
        })
        .unwrap();
        rx.recv().unwrap();
    }
}
