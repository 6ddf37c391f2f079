//! Who asks for something: what the log of changes says of it.

use std::net::SocketAddr;

/// Somebody who may administer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// At the other end of the Unix socket, by the word of the kernel.
    Local {
        /// The user.
        uid: u32,
        /// The process, where the kernel says.
        pid: Option<i32>,
    },
    /// Over the network.
    Network {
        /// From where.
        from: SocketAddr,
        /// By what it is known.
        credential: Credential,
    },
}

/// By what somebody on the network is known. Nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// The name of the token.
    Token(String),
    /// The SHA-256 fingerprint of the client certificate, in hexadecimal digits.
    Certificate(String),
}

impl Caller {
    /// The user, where it is on this machine.
    pub fn uid(&self) -> Option<u32> {
        match self {
            Self::Local { uid, .. } => Some(*uid),
            Self::Network { .. } => None,
        }
    }

    /// The process, where it is on this machine.
    pub fn pid(&self) -> Option<i32> {
        match self {
            Self::Local { pid, .. } => *pid,
            Self::Network { .. } => None,
        }
    }

    /// From where, where it is on the network.
    pub fn from(&self) -> Option<String> {
        match self {
            Self::Local { .. } => None,
            Self::Network { from, .. } => Some(from.to_string()),
        }
    }

    /// The name of the token that it has.
    pub fn token(&self) -> Option<&str> {
        match self {
            Self::Network { credential: Credential::Token(name), .. } => Some(name),
            _ => None,
        }
    }

    /// The fingerprint of the certificate that it has.
    pub fn certificate(&self) -> Option<&str> {
        match self {
            Self::Network { credential: Credential::Certificate(fingerprint), .. } => Some(fingerprint),
            _ => None,
        }
    }
}
