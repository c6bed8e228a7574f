//! Compiles what SQLite calls of its operating system.

fn main() {
    println!("cargo:rerun-if-changed=src/os.c");
    cc::Build::new()
        .file("src/os.c")
        .compile("secure_exec_sqlite_os");
}
