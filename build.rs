//! Boots Node's library and serializes it to `OUT_DIR/startup.snapshot`, which the addon embeds.
//!
//! This script links the whole runtime, without the linker arguments of `crates/runtime/link-args.txt`: those are for
//! limits on guests, and a build script cannot choose its own.

use std::path::PathBuf;
use std::sync::mpsc::channel;

use secure_exec_runtime::{engine, snapshot};

/// Stack of the thread that boots the library.
const STACK_BYTES: usize = 16 << 20;
/// What the addon shows to the dynamic linker.
const VERSION_SCRIPT: &str = "{ global: napi_register_module_v1; local: *; };\n";

fn main() {
    napi_build::setup();
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=crates/runtime/link-args.txt");
    println!("cargo:rerun-if-changed=crates/runtime/link-args-x86_64.txt");
    let out_dir = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        link_arguments(&out_dir);
    }
    let (sender, blob) = channel();
    engine::spawn("snapshot".to_owned(), STACK_BYTES, move || {
        drop(sender.send(snapshot::build()));
    })
    .expect("start a thread");
    let blob = blob
        .recv()
        .expect("the thread answers")
        .unwrap_or_else(|error| panic!("{error}"));
    std::fs::write(out_dir.join("startup.snapshot"), blob).expect("write the snapshot");
}

fn link_arguments(out_dir: &std::path::Path) {
    let script = out_dir.join("exports.map");
    std::fs::write(&script, VERSION_SCRIPT).expect("write the version script");
    for argument in [
        format!("-Wl,--version-script={}", script.display()),
        "-Wl,-Bsymbolic".to_owned(),
        "-Wl,-z,nodelete".to_owned(),
        "-Wl,--gc-sections".to_owned(),
    ] {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
    let own = if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        include_str!("crates/runtime/link-args-x86_64.txt")
    } else {
        ""
    };
    for argument in include_str!("crates/runtime/link-args.txt")
        .lines()
        .chain(own.lines())
    {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
}
