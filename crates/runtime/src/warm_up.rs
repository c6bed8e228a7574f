//! What a warm isolate does before its job is known: it runs a small program of ours, in a machine of its own that is
//! thrown away.
//!
//! Code out of the startup snapshot has never run: its inline caches are empty, its functions have no feedback, and the
//! memory that it will use has not been touched. A usual program spends most of its first millisecond on that. The main
//! script runs it through the library's own loader and takes away what it left.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use secure_exec_kernel::{
    ExitStatus, Kernel, KernelOptions, NullSink, Process, ProcessOptions, Program, Stdio,
};

use crate::budget::{BudgetLimits, Budgets, Installed};
use crate::clock::Mitigation;
use crate::env::Env;
use crate::process::{Order, call_main};
use crate::throw::Throw;

/// Where the programs stand. Caches of the library keep such names; a guest has no files there, unless it wants to fool
/// itself.
const FOLDER: &str = "/.secure-exec-warm-up";
/// What they are. What usual programs do then is the main script's part.
const PROGRAM: &str = "'use strict';\n";
/// Functions of the main script.
const USUAL: &[&str] = &[
    "warmUpProcess",
    CLASSIFY,
    "warmUpCompiler",
    "warmUpStreams",
    "warmUpProgram",
    "warmUpConsole",
];
const WHOLE: &[&str] = &[
    "warmUpProcess",
    CLASSIFY,
    "warmUpStreams",
    "warmUpProgram",
    "warmUpConsole",
    "warmUpFormat",
];
const END: &str = "warmUpEnd";
/// No function of the main script: reads [`USUAL_TEXT`] as the text of a program without a file name.
const CLASSIFY: &str = "classify";
const USUAL_TEXT: &str = "console.log(\"text \" + (1 + 2))";
/// What stays of it.
const STDOUT: &str = "warmUpStdout";
/// How often it is run, each time under another name: V8 gives a function feedback when it has run a few times, and
/// compiles it after a few more. An isolate that is wanted earlier has run it less often.
const ROUNDS: u32 = 16;
/// How often it is run at most: each run leaves a name in the library's caches.
const MAX_ROUNDS: u32 = 1000;
/// Between two runs, in which V8 compiles what runs often; a job that comes meanwhile does not wait.
const PAUSE: Duration = Duration::from_millis(3);
/// How long a thread waits without sleeping for the program of a VM that was just made.
const AWAKE: Duration = Duration::from_micros(500);
/// The same after each step of getting ready: a host that runs a program at once does so about then, and should not find
/// the next step begun.
const PATIENCE: Duration = Duration::from_micros(100);

/// The machine, and how often it was used.
pub(crate) struct WarmUp {
    kernel: Arc<Kernel>,
    rounds: u32,
    /// The path of the next round's program, and its process.
    next: Option<(String, Arc<Process>)>,
}

impl WarmUp {
    /// Makes the machine for a prepared isolate.
    pub fn new(env: &Env) -> Option<Self> {
        let kernel = Kernel::new(KernelOptions::default()).ok()?;
        kernel.mkdir(kernel.host(), FOLDER.as_bytes(), 0o755).ok()?;
        env.extension::<Installed>()
            .install(Budgets::new(BudgetLimits::default(), None));
        env.clock().restart(Mitigation::Freeze);
        Some(Self {
            kernel,
            rounds: 0,
            next: None,
        })
    }

    /// Makes the next round's process.
    fn prepare(&mut self) {
        if self.next.is_none() && self.rounds < MAX_ROUNDS {
            let main = format!("{FOLDER}/{}.cjs", self.rounds);
            self.rounds += 1;
            self.next = process(&self.kernel, &main).map(|process| (main, process));
        }
    }

    /// Runs the program until there is something to do.
    pub fn run(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        orders: &Receiver<Order>,
    ) -> Option<Order> {
        let mut order = orders.try_recv().ok();
        while order.is_none() && self.rounds < ROUNDS {
            order = self.round(scope, env, orders, WHOLE, Duration::ZERO);
            if order.is_none() {
                order = orders.recv_timeout(PAUSE).ok();
            }
        }
        if order.is_none() {
            order = self.round(scope, env, orders, &[STDOUT], Duration::ZERO);
        }
        if order.is_none() {
            self.prepare();
        }
        order
    }

    /// Runs what nearly every program needs once more, so that it is in the processor's caches, and stays awake for a
    /// moment: waking a thread takes as long as a short program.
    pub fn get_ready(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        orders: &Receiver<Order>,
    ) -> Option<Order> {
        let order = orders
            .try_recv()
            .ok()
            .or_else(|| self.round(scope, env, orders, USUAL, PATIENCE))
            .or_else(|| await_order(orders, AWAKE));
        if order.is_none() {
            self.prepare();
        }
        order
    }

    /// Runs steps until there is something to do. The isolate has no machine after it.
    fn round(
        &mut self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        orders: &Receiver<Order>,
        steps: &[&'static str],
        patience: Duration,
    ) -> Option<Order> {
        self.prepare();
        let (main, process) = self.next.take()?;
        env.set_machine(self.kernel.clone(), process.clone());
        let mut order = None;
        let mut is_well = true;
        for step in steps.iter().copied().chain([END]) {
            if order.is_some() && step != END {
                continue;
            }
            if step == CLASSIFY {
                crate::typescript::classify(USUAL_TEXT);
            } else {
                let done = call_main(scope, env, step, |scope| {
                    let main = v8::String::new(scope, &main).ok_or(Throw::Pending)?;
                    Ok(vec![main.into()])
                });
                is_well &= done.is_ok();
            }
            if order.is_none() {
                // The first two are worth more than what waiting for the second would cost.
                let is_first = Some(&step) == steps.first();
                order = await_order(orders, if is_first { Duration::ZERO } else { patience });
            }
        }
        env.clear_machine();
        self.kernel.exit(&process, ExitStatus::exited(0));
        if !is_well {
            tracing::warn!("an isolate is not as warm as it should be");
        }
        order
    }
}

/// Waits without sleeping.
fn await_order(orders: &Receiver<Order>, time: Duration) -> Option<Order> {
    let since = Instant::now();
    loop {
        if let Ok(order) = orders.try_recv() {
            return Some(order);
        }
        if since.elapsed() >= time {
            return None;
        }
        std::hint::spin_loop();
    }
}

fn process(kernel: &Arc<Kernel>, main: &str) -> Option<Arc<Process>> {
    let program = Program::new(main.as_bytes(), PROGRAM.as_bytes().to_vec()).ok()?;
    kernel
        .spawn(ProcessOptions {
            argv: vec![secure_exec_kernel::EXEC_PATH.to_owned(), main.to_owned()],
            cwd: FOLDER.as_bytes().to_vec(),
            stdio: Stdio {
                output: Arc::new(NullSink),
                ..Stdio::default()
            },
            program: Some(program),
            ..ProcessOptions::default()
        })
        .ok()
}
