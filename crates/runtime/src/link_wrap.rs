//! Functions of V8 and of the C library that the linker redirects to ours (`--wrap`, see `link-args.txt`).
//!
//! ```text
//! V8's object files --call X--> __wrap_X --jmp--> our Rust function --> real_X --jmp--> X itself
//! ```
//!
//! The `__wrap_` names are hidden symbols, so that they never leave the addon. A program that is linked without the
//! arguments (a build script) works too: there `__real_X` stays undefined and weak, and nothing calls `__wrap_X`.

/// `wrap!("symbol" => wrapper, fn real(arguments) -> Result)`: the linker symbol leads to `wrapper`, and `real` is the
/// original.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
macro_rules! wrap {
    ($symbol:literal => $wrapper:path, fn $real:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?) => {
        unsafe extern "C" {
            #[link_name = concat!("secure_exec_real_", $symbol)]
            fn $real($($argument: $type),*) $(-> $result)?;
        }
        std::arch::global_asm!(
            ".pushsection .text.secure_exec_wrap,\"ax\",@progbits",
            concat!(".globl __wrap_", $symbol),
            concat!(".hidden __wrap_", $symbol),
            concat!(".type __wrap_", $symbol, ",@function"),
            concat!("__wrap_", $symbol, ":"),
            $crate::link_wrap::jump_to_rust!(),
            concat!(".weak __real_", $symbol),
            concat!(".globl secure_exec_real_", $symbol),
            concat!(".hidden secure_exec_real_", $symbol),
            concat!(".type secure_exec_real_", $symbol, ",@function"),
            concat!("secure_exec_real_", $symbol, ":"),
            $crate::link_wrap::jump_to_real!($symbol),
            ".popsection",
            wrapper = sym $wrapper,
        );
    };
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
macro_rules! jump_to_rust {
    () => {
        "jmp {wrapper}"
    };
}
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
macro_rules! jump_to_real {
    ($symbol:literal) => {
        concat!("jmp qword ptr [rip + __real_", $symbol, "@GOTPCREL]")
    };
}

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
macro_rules! jump_to_rust {
    () => {
        "b {wrapper}"
    };
}
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
macro_rules! jump_to_real {
    ($symbol:literal) => {
        concat!(
            "adrp x16, :got:__real_",
            $symbol,
            "\n",
            "ldr x16, [x16, :got_lo12:__real_",
            $symbol,
            "]\n",
            "br x16"
        )
    };
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub(crate) use {jump_to_real, jump_to_rust, wrap};

/// Whether this program was linked with the arguments of `link-args.txt`.
pub fn is_linked() -> bool {
    crate::platform_clock::real_clock_is_linked()
}
