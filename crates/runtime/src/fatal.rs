use std::sync::Arc; use crate::env::Shared; use crate::latch::End;
pub const STACK_BYTES: usize = 8<<20;
pub struct GuestThread;
pub fn enter_guest_thread(_: Box<dyn FnOnce(End)+Send>) -> GuestThread { GuestThread }
impl GuestThread { pub fn attach(&self, _: &Arc<Shared>) {} }
