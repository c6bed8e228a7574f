//! The permissions as the kernel's gates ask them: paths and programs.

use std::borrow::Cow;

use super::{Permissions, REASON, Request, SpawnRequest};
use crate::errno::{Errno, Result};
use crate::exec::{ProcessPolicy, ProcessRequest};
use crate::policy::{FsPolicy, FsRequest};

fn refuse(reason: String) -> Errno {
    REASON.set(Some(reason));
    Errno::EACCES
}

impl FsPolicy for Permissions {
    fn check(&self, request: &FsRequest) -> Result<()> {
        let question = Request::Fs {
            op: request.op,
            path: Cow::Borrowed(&request.path),
            is_own: !request.foreign,
        };
        match Permissions::check(self, &question) {
            Ok(_) => Ok(()),
            Err(_) if self.hides_denied() => Err(Errno::ENOENT),
            Err(denial) => Err(refuse(denial.reason)),
        }
    }
}

impl ProcessPolicy for Permissions {
    fn check(&self, request: &ProcessRequest) -> Result<()> {
        let question = Request::ChildProcess(Cow::Owned(SpawnRequest {
            command: request.command.clone(),
            args: request.args.clone(),
            cwd: String::from_utf8_lossy(&request.cwd).into_owned(),
            env: request.env.clone(),
        }));
        Permissions::check(self, &question)
            .map(drop)
            .map_err(|denial| refuse(denial.reason))
    }
}
