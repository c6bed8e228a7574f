//! Sessions that clients can resume. What a program gets of one is a random token: the secrets stay here.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::rand::{SecureRandom, SystemRandom};
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// Bytes of a token.
pub const TOKEN_BYTES: usize = 32;
/// Sessions of one program that are kept; the oldest go first.
const MAX_SESSIONS: usize = 1024;

/// What stands for a session.
pub type Token = [u8; TOKEN_BYTES];

/// A session.
#[derive(Debug)]
enum Stored {
    Tls12(Tls12ClientSessionValue),
    Tls13(Tls13ClientSessionValue),
}

/// The sessions of a program.
#[derive(Debug, Default)]
pub struct SessionTable(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    sessions: HashMap<Token, Stored>,
    order: VecDeque<Token>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A token that stands for nothing yet.
pub fn new_token() -> Option<Token> {
    let mut token = [0; TOKEN_BYTES];
    SystemRandom::new().fill(&mut token).ok()?;
    Some(token)
}

impl SessionTable {
    fn keep(&self, session: Stored) -> Option<Token> {
        let token = new_token()?;
        let mut kept = lock(&self.0);
        while kept.order.len() >= MAX_SESSIONS {
            if let Some(oldest) = kept.order.pop_front() {
                kept.sessions.remove(&oldest);
            }
        }
        kept.order.push_back(token);
        kept.sessions.insert(token, session);
        Some(token)
    }
}

/// What one connection of a client does with sessions.
#[derive(Debug)]
pub struct Resumption {
    table: Arc<SessionTable>,
    offered: Option<Token>,
    received: Mutex<VecDeque<Token>>,
}

impl Resumption {
    /// For a connection that may resume the session of a token.
    pub fn new(table: Arc<SessionTable>, offered: Option<Token>) -> Self {
        Self {
            table,
            offered,
            received: Mutex::default(),
        }
    }

    /// A session that the server gave since this was asked last.
    pub fn next_received(&self) -> Option<Token> {
        lock(&self.received).pop_front()
    }

    fn received(&self, session: Stored) {
        if let Some(token) = self.table.keep(session) {
            lock(&self.received).push_back(token);
        }
    }
}

impl ClientSessionStore for Resumption {
    fn set_kx_hint(&self, _server_name: ServerName<'static>, _group: NamedGroup) {}

    fn kx_hint(&self, _server_name: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.received(Stored::Tls12(value));
    }

    fn tls12_session(&self, _server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        match lock(&self.table.0).sessions.get(&self.offered?) {
            Some(Stored::Tls12(session)) => Some(session.clone()),
            _ => None,
        }
    }

    fn remove_tls12_session(&self, _server_name: &ServerName<'static>) {}

    fn insert_tls13_ticket(
        &self,
        _server_name: ServerName<'static>,
        value: Tls13ClientSessionValue,
    ) {
        self.received(Stored::Tls13(value));
    }

    fn take_tls13_ticket(
        &self,
        _server_name: &ServerName<'static>,
    ) -> Option<Tls13ClientSessionValue> {
        let token = self.offered?;
        let mut kept = lock(&self.table.0);
        match kept.sessions.remove(&token)? {
            Stored::Tls13(session) => Some(session),
            other @ Stored::Tls12(_) => {
                kept.sessions.insert(token, other);
                None
            }
        }
    }
}
