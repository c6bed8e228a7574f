//! The wall clock that V8 reads: `Date`, `Intl` without an argument, everything.
//!
//! V8's `OS::TimeCurrentMillis` is wrapped by the linker. On a thread whose guest has frozen clocks it answers the
//! guest's time, on every other thread the real one. Where the linker cannot wrap (macOS, Windows) V8 reads the real
//! clock, and only what goes through our own bindings is frozen.

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod wrapped {
    crate::link_wrap::wrap!(
        "_ZN2v84base2OS17TimeCurrentMillisEv" => time_current_millis,
        fn real_time_current_millis() -> f64
    );

    /// What V8 calls instead of its `OS::TimeCurrentMillis`.
    extern "C" fn time_current_millis() -> f64 {
        crate::clock::frozen_wall_ms().unwrap_or_else(|| {
            // SAFETY: the linker resolves this to V8's own function, which takes nothing.
            unsafe { real_time_current_millis() }
        })
    }

    /// The address behind `__real_...`: 0 when the linker arguments were not given.
    pub fn real_address() -> usize {
        let address: usize;
        // SAFETY: reads one entry of the global offset table, which the linker fills with the address or with 0.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            std::arch::asm!(
                "mov {}, qword ptr [rip + __real__ZN2v84base2OS17TimeCurrentMillisEv@GOTPCREL]",
                ".weak __real__ZN2v84base2OS17TimeCurrentMillisEv",
                out(reg) address, options(nostack, readonly, preserves_flags),
            );
            #[cfg(target_arch = "aarch64")]
            std::arch::asm!(
                "adrp {0}, :got:__real__ZN2v84base2OS17TimeCurrentMillisEv",
                "ldr {0}, [{0}, :got_lo12:__real__ZN2v84base2OS17TimeCurrentMillisEv]",
                ".weak __real__ZN2v84base2OS17TimeCurrentMillisEv",
                out(reg) address, options(nostack, readonly, preserves_flags),
            );
        }
        address
    }
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub(crate) fn real_clock_is_linked() -> bool {
    wrapped::real_address() != 0
}

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
pub(crate) fn real_clock_is_linked() -> bool {
    false
}
