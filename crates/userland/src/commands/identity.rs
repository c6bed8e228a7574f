//! Who and where: `uname`, `hostname`, `whoami`, `id`.

use secure_exec_kernel::Errno;

use super::options::{Spec, options};
use crate::Context;

/// `uname [-asnrvmo]`
pub(super) fn uname(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "asnrvmpo",
        ..Spec::NONE
    };
    let options = options!(context, words, SPEC);
    let os = &context.kernel().machine().os;
    let all = options.has('a');
    let parts: Vec<&str> = [
        ('s', os.kind.as_str()),
        ('n', &os.hostname),
        ('r', &os.release),
        ('v', &os.version),
        ('m', &os.machine),
        ('p', &os.machine),
        ('o', "GNU/Linux"),
    ]
    .into_iter()
    .filter(|(flag, _)| options.has(*flag) || (all && *flag != 'p'))
    .map(|(_, text)| text)
    .collect();
    let text = if parts.is_empty() {
        os.kind.clone()
    } else {
        parts.join(" ")
    };
    context.write(1, format!("{text}\n").as_bytes())?;
    Ok(0)
}

/// `hostname`
pub(super) fn hostname(context: &Context, _: &[String]) -> Result<i32, Errno> {
    context.write(
        1,
        format!("{}\n", context.kernel().machine().os.hostname).as_bytes(),
    )?;
    Ok(0)
}

/// The name of a user or group id.
pub(super) fn user_name(context: &Context, id: u32) -> String {
    let user = &context.kernel().machine().user;
    match id {
        0 => "root".to_owned(),
        _ if id == user.uid => user.name.clone(),
        _ => id.to_string(),
    }
}

/// `whoami`
pub(super) fn whoami(context: &Context, _: &[String]) -> Result<i32, Errno> {
    let name = user_name(context, context.process().uid());
    context.write(1, format!("{name}\n").as_bytes())?;
    Ok(0)
}

/// `id [-u|-g] [-n]`
pub(super) fn id(context: &Context, words: &[String]) -> Result<i32, Errno> {
    const SPEC: Spec = Spec {
        flags: "ugnr",
        ..Spec::NONE
    };
    let options = options!(context, words, SPEC);
    let (uid, gid) = (context.process().uid(), context.process().gid());
    let one = |id: u32| {
        if options.has('n') {
            user_name(context, id)
        } else {
            id.to_string()
        }
    };
    let text = if options.has('u') {
        one(uid)
    } else if options.has('g') {
        one(gid)
    } else {
        let (user, group) = (user_name(context, uid), user_name(context, gid));
        format!("uid={uid}({user}) gid={gid}({group}) groups={gid}({group})")
    };
    context.write(1, format!("{text}\n").as_bytes())?;
    Ok(0)
}
