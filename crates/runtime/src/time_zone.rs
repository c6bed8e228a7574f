//! The time zone of each guest, from its `TZ`; without one it is UTC. Nothing tells the host's.
//!
//! ICU has one default zone for the whole OS process, and V8 asks for it wherever JavaScript speaks of local time. The
//! linker sends the calls of its `TimeZone::createDefault` here, and each thread gets its guest's. Where the linker cannot
//! wrap (macOS, Windows) all guests have UTC.
//! Source of behaviour: ICU's `putil.cpp` and `timezone.cpp`, which read `TZ`; Node's `src/node_env_var.cc`.

use std::cell::{Cell, RefCell};

use crate::env::Env;

const UTC: &str = "UTC";
/// ICU's zone for names that it does not know: like UTC, but for what it is called.
const UNKNOWN: &str = "Etc/Unknown";
/// Longer ones are of no zone.
const MAX_NAME: usize = 64;

thread_local! {
    /// ICU's name of the zone of the guest on this thread.
    static ZONE: RefCell<String> = RefCell::new(UTC.to_owned());
}

/// Makes UTC the zone of all threads without a guest. Call once, before there is an isolate.
pub fn initialize() {
    if !v8::icu::set_default_time_zone(UTC) {
        tracing::error!("ICU does not know UTC");
    }
}

/// The zone of the guest on this thread.
pub fn current() -> String {
    ZONE.with_borrow(Clone::clone)
}

/// Gives `zone` to this thread, on which there is no isolate yet.
pub fn adopt(zone: String) {
    ZONE.set(zone);
}

/// Whether the guest's zone was another one before.
#[derive(Default)]
struct Changed(Cell<bool>);

/// Gives the guest on this thread the zone that its variables name; V8 forgets what it knew of the last one.
pub fn read_variable(scope: &mut v8::PinScope<'_, '_>, env: &Env) {
    let zone = zone_of(env.variables.get("TZ").as_deref());
    if ZONE.with_borrow(|before| *before == zone) {
        return;
    }
    ZONE.set(zone);
    // V8 counts changes from the first `Date` on. Its builtins compare the count, taken for a tagged value, with the tagged
    // count that a `Date` keeps with its fields: an even count is that of half as many changes. So it is kept odd.
    let _ = v8::Date::new(scope, 0.0);
    let steps = if env.extension::<Changed>().0.replace(true) {
        2
    } else {
        1
    };
    for _ in 0..steps {
        scope.date_time_configuration_change_notification(v8::TimeZoneDetection::Skip);
    }
}

/// Notes that the guest changed the variable `name`. Those of a worker do not reach its process.
pub fn variable_changed(scope: &mut v8::PinScope<'_, '_>, env: &Env, name: &str) {
    if name == "TZ" && !env.extension::<crate::threads::Thread>().is_worker() {
        read_variable(scope, env);
    }
}

/// ICU's name of the zone that a value of `TZ` means.
fn zone_of(variable: Option<&str>) -> String {
    let Some(value) = variable else {
        return UTC.to_owned();
    };
    let mut name = value.strip_prefix(':').unwrap_or(value);
    for prefix in ["/usr/share/zoneinfo/", "posix/", "right/"] {
        name = name.strip_prefix(prefix).unwrap_or(name);
    }
    if let Some(fixed) = fixed_offset(name) {
        return fixed;
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_name) {
        return UNKNOWN.to_owned();
    }
    name.to_owned()
}

/// POSIX's zones without summer time, such as `EST5` and `UTC-5:30`, whose offset is what to add to reach UTC.
fn fixed_offset(name: &str) -> Option<String> {
    let letters = name.bytes().take_while(u8::is_ascii_alphabetic).count();
    if letters < 3 {
        return None;
    }
    let offset = name.get(letters..)?;
    let (sign, digits) = match offset.as_bytes().first()? {
        b'-' => ('+', offset.get(1..)?),
        b'+' => ('-', offset.get(1..)?),
        _ => ('-', offset),
    };
    let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
    let number = |text: &str, max: u8| {
        let is_number = matches!(text.len(), 1 | 2) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u8>().ok().filter(|n| is_number && *n <= max)
    };
    let (hours, minutes) = (number(hours, 23)?, number(minutes, 59)?);
    Some(format!("GMT{sign}{hours:02}:{minutes:02}"))
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod wrapped {
    use std::ffi::{c_char, c_int, c_void};

    use super::ZONE;

    crate::link_wrap::wrap!(
        "_ZN6icu_788TimeZone13createDefaultEv" => create_default,
        fn real_create_default() -> *mut c_void
    );

    /// The bytes of an `icu::UnicodeString`.
    #[repr(C, align(8))]
    struct UnicodeString([u8; 64]);

    unsafe extern "C" {
        #[link_name = "_ZN6icu_788TimeZone14createTimeZoneERKNS_13UnicodeStringE"]
        fn create_time_zone(name: *const UnicodeString) -> *mut c_void;
        /// The constructor for text of the characters that all code pages have in common.
        #[link_name = "_ZN6icu_7813UnicodeStringC1EPKciNS0_10EInvariantE"]
        fn construct(this: *mut UnicodeString, text: *const c_char, length: c_int, kind: c_int);
        #[link_name = "_ZN6icu_7813UnicodeStringD1Ev"]
        fn destruct(this: *mut UnicodeString);
    }

    /// What V8 and ICU call instead of `TimeZone::createDefault`: the caller owns what it answers.
    extern "C" fn create_default() -> *mut c_void {
        // A thread that ends has none any more.
        let own = ZONE.try_with(|zone| {
            let zone = zone.try_borrow().ok()?;
            if *zone == super::UTC {
                return None;
            }
            let length = c_int::try_from(zone.len()).ok()?;
            let mut name = UnicodeString([0; 64]);
            // SAFETY: `name` has the size and alignment of ICU's class (`UNISTR_OBJECT_SIZE`); `zone` lives until the end of
            // the block and is of ASCII letters, digits and `/_+-:`, all invariant.
            unsafe {
                construct(&raw mut name, zone.as_ptr().cast(), length, 0);
                let made = create_time_zone(&raw const name);
                destruct(&raw mut name);
                (!made.is_null()).then_some(made)
            }
        });
        own.ok().flatten().unwrap_or_else(|| {
            // UTC; quicker than by its name.
            // SAFETY: the linker resolves this to ICU's own function, which takes nothing.
            unsafe { real_create_default() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_tz_mean_what_they_mean_to_icu() {
        for (value, zone) in [
            (None, "UTC"),
            (Some("America/New_York"), "America/New_York"),
            (Some(":Asia/Tokyo"), "Asia/Tokyo"),
            (Some("posix/Asia/Tokyo"), "Asia/Tokyo"),
            (Some("/usr/share/zoneinfo/Asia/Tokyo"), "Asia/Tokyo"),
            (Some("EST5EDT"), "EST5EDT"),
            (Some("Etc/GMT-14"), "Etc/GMT-14"),
            (Some("EST5"), "GMT-05:00"),
            (Some("UTC-5:30"), "GMT+05:30"),
            (Some("UTC+99"), "UTC+99"),
            (Some(""), "Etc/Unknown"),
            (Some("a\0b"), "Etc/Unknown"),
            (Some("é"), "Etc/Unknown"),
            (Some(&"a".repeat(65)), "Etc/Unknown"),
        ] {
            assert_eq!(zone_of(value), zone, "{value:?}");
        }
    }
}
