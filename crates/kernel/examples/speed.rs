//! Prints what the common calls cost: `cargo run --release -p secure-exec-kernel --example speed`.

use secure_exec_kernel::{
    Clock, ClockMode, Errno, Image, Kernel, KernelOptions, ProcessOptions, oflag,
};

fn time<T>(clock: &Clock, what: &str, rounds: u32, mut call: impl FnMut() -> Result<T, Errno>) {
    let start = clock.monotonic_ns();
    for _ in 0..rounds {
        if let Err(error) = call() {
            println!("{what}: {error}");
            return;
        }
    }
    let each = (clock.monotonic_ns() - start) as f64 / f64::from(rounds);
    println!("{what:<34} {each:>12.0} ns");
}

fn main() -> Result<(), Errno> {
    let clock = Clock::new(ClockMode::Real);
    let mut builder = Image::builder();
    for n in 0..10_000 {
        builder.file(format!("/many/{n}.js"), vec![b'x'; 100], 0o644)?;
    }
    let image = builder.build();
    let options = || KernelOptions {
        image: Some(image.clone()),
        ..KernelOptions::default()
    };
    time(&clock, "new kernel on an image of 10,000", 1000, || {
        Kernel::new(options())
    });
    let kernel = Kernel::new(options())?;
    let p = kernel.spawn(ProcessOptions::default())?;
    let k = &kernel;
    let write = oflag::O_WRONLY | oflag::O_CREAT | oflag::O_TRUNC;
    k.write_file(&p, b"/workspace/kilo", &[1; 1024], write, 0o644)?;
    let fd = k.open(&p, b"/workspace/kilo", oflag::O_RDWR, 0)?;
    let mut buf = [0; 1024];
    time(&clock, "pread 1 KB", 1_000_000, || {
        k.read(&p, fd, &mut buf, Some(0))
    });
    time(&clock, "pwrite 1 KB", 1_000_000, || {
        k.write(&p, fd, &buf, Some(0))
    });
    time(&clock, "open and close", 1_000_000, || {
        let fd = k.open(&p, b"/workspace/kilo", oflag::O_RDONLY, 0)?;
        k.close(&p, fd)
    });
    time(&clock, "read_file 1 KB", 1_000_000, || {
        k.read_file(&p, b"/workspace/kilo", 1 << 20)
    });
    time(&clock, "write_file 1 KB", 1_000_000, || {
        k.write_file(&p, b"/workspace/kilo", &buf, write, 0o644)
    });
    time(&clock, "stat", 1_000_000, || k.stat(&p, b"/workspace/kilo"));
    time(&clock, "stat, relative", 1_000_000, || k.stat(&p, b"kilo"));
    time(&clock, "stat in a directory of 10,000", 1_000_000, || {
        k.stat(&p, b"/many/4567.js")
    });
    time(&clock, "module_stat of nothing", 1_000_000, || {
        Ok::<_, Errno>(k.module_stat(&p, b"/workspace/node_modules"))
    });
    time(&clock, "readdir of 10,000", 1000, || {
        k.readdir(&p, b"/many")
    });
    let mega = vec![1; 1 << 20];
    time(&clock, "write_file 1 MB", 1000, || {
        k.write_file(&p, b"mega", &mega, write, 0o644)
    });
    time(&clock, "read_file 1 MB", 1000, || {
        k.read_file(&p, b"mega", 1 << 30)
    });
    let mut n = 0u32;
    time(&clock, "create and unlink", 300_000, || {
        n += 1;
        let path = format!("f{n}");
        k.write_file(&p, path.as_bytes(), b"", write, 0o644)?;
        k.unlink(&p, path.as_bytes())
    });
    Ok(())
}
