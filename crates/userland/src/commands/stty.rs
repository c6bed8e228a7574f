//! `stty`: what the terminal of standard input does with keys.

use std::sync::Arc;

use secure_exec_kernel::{Errno, Terminal};

use crate::Context;

const NAME: &str = "stty";

/// `stty [-a] [size] [raw | -raw | cooked | -cooked | sane]`: a terminal of ours is raw or is not, and has no other modes.
pub(super) fn stty(context: &Context, words: &[String]) -> Result<i32, Errno> {
    let terminal = context.process().file(0).ok();
    let terminal = terminal.and_then(|file| file.terminal().cloned());
    let Some(terminal) = terminal else {
        context.complain(NAME, "'standard input': Inappropriate ioctl for device")?;
        return Ok(1);
    };
    let words = words.get(1..).unwrap_or_default();
    if words.is_empty() {
        return tell(context, &terminal, false);
    }
    for word in words {
        match word.as_str() {
            "-a" | "--all" => {
                tell(context, &terminal, true)?;
            }
            "size" => {
                let size = terminal.size();
                context.write(1, format!("{} {}\n", size.rows, size.columns).as_bytes())?;
            }
            "raw" | "-cooked" => terminal.set_raw(true),
            "-raw" | "cooked" | "sane" => terminal.set_raw(false),
            other => {
                context.complain(NAME, format_args!("invalid argument '{other}'"))?;
                return Ok(1);
            }
        }
    }
    Ok(0)
}

fn tell(context: &Context, terminal: &Arc<Terminal>, all: bool) -> Result<i32, Errno> {
    let sign = if terminal.is_raw() { "-" } else { "" };
    let size = terminal.size();
    let mut text = "speed 38400 baud;".to_owned();
    if all {
        text.push_str(&format!(" rows {}; columns {};", size.rows, size.columns));
    }
    text.push_str(" line = 0;\n");
    if all || terminal.is_raw() {
        text.push_str(&format!(
            "{sign}icrnl {sign}opost\n{sign}isig {sign}icanon {sign}echo\n"
        ));
    }
    context.write(1, text.as_bytes())?;
    Ok(0)
}
