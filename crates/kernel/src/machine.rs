//! What the machine says of itself: declared values, never the host's.

use std::sync::{Arc, OnceLock};

use crate::image::Image;

/// The operating system that `os` and `/proc` show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OsConfig {
    /// `os.platform()`.
    pub platform: String,
    /// `os.type()`.
    pub kind: String,
    /// `os.release()`.
    pub release: String,
    /// `os.version()`.
    pub version: String,
    /// `os.machine()`.
    pub machine: String,
    /// `os.hostname()`.
    pub hostname: String,
    /// `os.cpus()[n].model`.
    pub cpu_model: String,
    /// `os.cpus().length`.
    pub cpu_count: u32,
    /// `os.totalmem()`.
    pub total_memory: u64,
    /// `os.freemem()`.
    pub free_memory: u64,
}

impl Default for OsConfig {
    fn default() -> Self {
        OsConfig {
            platform: "linux".into(),
            kind: "Linux".into(),
            release: "6.1.0".into(),
            version: "#1 SMP PREEMPT_DYNAMIC".into(),
            machine: "x86_64".into(),
            hostname: "sandbox".into(),
            cpu_model: "Virtual CPU".into(),
            cpu_count: 1,
            total_memory: 1 << 30,
            free_memory: 1 << 29,
        }
    }
}

/// The user that guests run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserConfig {
    /// `os.userInfo().username`.
    pub name: String,
    /// `process.getuid()`.
    pub uid: u32,
    /// `process.getgid()`.
    pub gid: u32,
    /// `os.userInfo().homedir`; made at start.
    pub home: String,
    /// `os.userInfo().shell`.
    pub shell: String,
}

impl UserConfig {
    /// Name `sandbox`, uid and gid 1000, home `/home/sandbox`.
    pub const DEFAULT_ID: u32 = 1000;
}

impl Default for UserConfig {
    fn default() -> Self {
        UserConfig {
            name: "sandbox".into(),
            uid: UserConfig::DEFAULT_ID,
            gid: UserConfig::DEFAULT_ID,
            home: "/home/sandbox".into(),
            shell: "/bin/sh".into(),
        }
    }
}

/// Both, as processes of the VM share them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Machine {
    /// The operating system.
    pub os: OsConfig,
    /// The user.
    pub user: UserConfig,
}

impl Machine {
    /// The tree of a bare machine with what depends on its configuration, where that is the default.
    pub(crate) fn furnished_image(&self) -> Option<Arc<Image>> {
        static DEFAULT: OnceLock<Option<Arc<Image>>> = OnceLock::new();
        if *self != Machine::default() {
            return None;
        }
        DEFAULT
            .get_or_init(|| {
                let mut builder = Image::builder();
                for (path, text) in self.etc() {
                    builder.file(path, text.into_bytes(), 0o644).ok()?;
                }
                builder.dir(&self.user.home, 0o755).ok()?;
                Some(builder.build())
            })
            .clone()
    }

    /// Files of `/etc`, by path.
    pub(crate) fn etc(&self) -> [(&'static str, String); 7] {
        let UserConfig {
            name,
            uid,
            gid,
            home,
            shell,
        } = &self.user;
        let host = &self.os.hostname;
        [
            (
                "/etc/passwd",
                format!(
                    "root:x:0:0:root:/root:/bin/sh\n{name}:x:{uid}:{gid}:{name}:{home}:{shell}\n\
                     nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
                ),
            ),
            ("/etc/group", format!("root:x:0:\n{name}:x:{gid}:\nnogroup:x:65534:\n")),
            (
                "/etc/hosts",
                format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n127.0.1.1\t{host}\n"),
            ),
            ("/etc/hostname", format!("{host}\n")),
            ("/etc/resolv.conf", "nameserver 127.0.0.53\n".to_owned()),
            ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
            (
                "/etc/os-release",
                "NAME=\"secure-exec\"\nID=secure-exec\nID_LIKE=debian\nPRETTY_NAME=\"secure-exec\"\n"
                    .to_owned(),
            ),
        ]
    }
}
