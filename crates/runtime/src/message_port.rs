//! The two ends of a message channel, apart from the JavaScript objects that stand for them.
//!
//! ```text
//! MessagePort (JS object, one thread) -- owns --> Arc<PortData> -- member of --> Arc<Group>
//!        ^                                            |                            | Weak<PortData> of each member
//!        +------- Inbox message: "look" --------------+ queue of Arc<Message>  <---+
//! ```
//! A `PortData` moves between processes of one guest inside a message. Source: `src/node_messaging.cc`.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::event_loop::Inbox;
use crate::message::Message;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ports of one thread that it was told to look at and has not yet looked at, by their keys: as libuv's handles,
/// they are looked at in the order in which they were made.
pub type Pending = Arc<Mutex<BTreeSet<u64>>>;

/// Where the JavaScript object of a port lives.
#[derive(Clone)]
pub struct Owner {
    /// The inbox of its thread.
    pub inbox: Inbox,
    /// Its key among the ports of that thread.
    pub port: u64,
    /// Those that the thread is to look at.
    pub pending: Pending,
}

impl Owner {
    /// Makes the port's thread look at the port's queue in the next turn of its loop.
    pub fn trigger(&self) {
        {
            let mut pending = lock(&self.pending);
            let is_first = pending.is_empty();
            pending.insert(self.port);
            if !is_first {
                return;
            }
        }
        let pending = self.pending.clone();
        self.inbox.send_unref(Box::new(move |scope, env| {
            let ports = std::mem::take(&mut *lock(&pending));
            for port in ports {
                if env.is_ending() {
                    return;
                }
                v8::scope!(let scope, scope);
                crate::bindings::messaging::on_message(scope, env, port, false);
            }
        }));
    }
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<Message>>,
    owner: Option<Owner>,
    group: Option<Arc<Group>>,
}

/// One end of a channel: its queue of received messages. See the module's text.
pub struct PortData {
    id: u64,
    state: Mutex<State>,
}

impl Default for PortData {
    fn default() -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            state: Mutex::default(),
        }
    }
}

/// What became of a message that was sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was left at its destinations.
    Yes,
    /// There is no destination.
    NoDestination,
    /// It was lost, with a warning for the process.
    Lost(&'static str),
    /// The port cannot send.
    NotEntangled,
}

impl PortData {
    /// The same number for the whole life of this end.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Binds this end to a JavaScript object.
    pub fn set_owner(&self, owner: Option<Owner>) {
        lock(&self.state).owner = owner;
    }

    /// Makes the owner look at the queue.
    pub fn trigger(&self) {
        let owner = lock(&self.state).owner.clone();
        if let Some(owner) = owner {
            owner.trigger();
        }
    }

    /// Number of messages that wait.
    pub fn waiting(&self) -> usize {
        lock(&self.state).queue.len()
    }

    /// Takes the oldest message; unless `any`, only one that says that the other end is closed.
    pub fn take(&self, any: bool) -> Option<Arc<Message>> {
        let mut state = lock(&self.state);
        if !any && !state.queue.front()?.is_close() {
            return None;
        }
        state.queue.pop_front()
    }

    fn receive(&self, message: Arc<Message>) {
        let mut state = lock(&self.state);
        state.queue.push_back(message);
        if let Some(owner) = &state.owner {
            owner.trigger();
        }
    }

    /// Sends `message` to the other members of the group.
    pub fn send(&self, message: Message) -> Sent {
        let group = lock(&self.state).group.clone();
        match group {
            Some(group) => group.send(self.id, message),
            None => Sent::NotEntangled,
        }
    }

    /// Leaves the group; the other end of a plain channel hears of it.
    pub fn disentangle(&self) {
        let group = lock(&self.state).group.take();
        if let Some(group) = group {
            self.receive(Arc::new(Message::close()));
            group.leave(self.id);
        }
    }
}

thread_local! {
    /// Messages that wait to be dropped. A queue may hold a message that holds a port with a queue, to any depth.
    static DROPPING: RefCell<Option<Vec<Arc<Message>>>> = const { RefCell::new(None) };
}

impl Drop for PortData {
    fn drop(&mut self) {
        self.disentangle();
        drop_in_turn(std::mem::take(&mut lock(&self.state).queue));
    }
}

/// Drops messages one after the other instead of one inside the other.
fn drop_in_turn(messages: VecDeque<Arc<Message>>) {
    if messages.is_empty() {
        return;
    }
    let mut messages = Some(messages);
    let nested = DROPPING.try_with(|dropping| match dropping.borrow_mut().as_mut() {
        Some(waiting) => {
            waiting.extend(messages.take().into_iter().flatten());
            true
        }
        None => false,
    });
    if nested != Ok(false) {
        return;
    }
    DROPPING
        .with(|dropping| dropping.replace(Some(messages.take().into_iter().flatten().collect())));
    while let Some(message) =
        DROPPING.with(|dropping| dropping.borrow_mut().as_mut().and_then(Vec::pop))
    {
        drop(message);
    }
    DROPPING.with(|dropping| dropping.replace(None));
}

/// Ends that send to each other: the two of a channel, or all that opened one `BroadcastChannel` name.
pub struct Group {
    name: Option<(String, Channels)>,
    members: Mutex<Vec<(u64, Weak<PortData>)>>,
}

impl Group {
    /// Makes `first` and `second` the two ends of a channel.
    pub fn pair(first: &Arc<PortData>, second: &Arc<PortData>) {
        let group = Arc::new(Self {
            name: None,
            members: Mutex::default(),
        });
        group.join(first);
        group.join(second);
    }

    fn join(self: &Arc<Self>, data: &Arc<PortData>) {
        lock(&self.members).push((data.id, Arc::downgrade(data)));
        lock(&data.state).group = Some(self.clone());
    }

    fn send(&self, source: u64, message: Message) -> Sent {
        // Upgraded references outlive the lock: dropping the last one leaves a group.
        let (size, known, targets) = {
            let members = lock(&self.members);
            let targets: Vec<_> = members
                .iter()
                .filter(|(id, _)| *id != source)
                .filter_map(|(_, data)| data.upgrade())
                .collect();
            (
                members.len(),
                members.iter().any(|(id, _)| *id == source),
                targets,
            )
        };
        if !known {
            return Sent::NotEntangled;
        }
        if size <= 1 {
            return Sent::NoDestination;
        }
        if size > 2 && message.has_transferables() {
            return Sent::Lost("Transferables cannot be used with multiple destinations.");
        }
        if targets.iter().any(|target| message.carries_port(target.id)) {
            return Sent::Lost(
                "The target port was posted to itself, and the communication channel was lost",
            );
        }
        let message = Arc::new(message);
        for target in &targets {
            target.receive(message.clone());
        }
        Sent::Yes
    }

    fn leave(&self, id: u64) {
        let left = {
            let mut members = lock(&self.members);
            members.retain(|(member, _)| *member != id);
            match members.as_slice() {
                [(_, last)] if self.name.is_none() => last.upgrade(),
                _ => None,
            }
        };
        if let Some(left) = left {
            left.receive(Arc::new(Message::close()));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some((name, channels)) = self.name.take() {
            let mut channels = lock(&channels.0);
            if channels
                .get(&name)
                .is_some_and(|group| group.strong_count() == 0)
            {
                channels.remove(&name);
            }
        }
    }
}

/// The `BroadcastChannel`s of one guest, by name. Never shared between guests.
#[derive(Clone, Default)]
pub struct Channels(Arc<Mutex<HashMap<String, Weak<Group>>>>);

impl Channels {
    /// Makes `data` a member of the channel called `name`.
    pub fn join(&self, name: &str, data: &Arc<PortData>) {
        let group = {
            let mut channels = lock(&self.0);
            if let Some(group) = channels.get(name).and_then(Weak::upgrade) {
                group
            } else {
                let group = Arc::new(Group {
                    name: Some((name.to_owned(), self.clone())),
                    members: Mutex::default(),
                });
                channels.insert(name.to_owned(), Arc::downgrade(&group));
                group
            }
        };
        group.join(data);
    }
}
