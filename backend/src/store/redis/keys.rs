//! The names of keys. All of a bucket's have its hash tag in common: a cluster keeps them together.

use std::fmt::Display;

use cartgate_policy::Sku;

use super::control::Line;
use crate::store::StoreError;
use crate::store::encoding::{malformed, parse_sku};
use crate::store::tenure::{Route, Stream};

/// How many slots a cluster has.
pub(crate) const SLOTS: u16 = 16_384;

/// The keys that belong to no bucket.
#[derive(Clone, Debug)]
pub(crate) struct StoreKeys {
    prefix: Box<str>,
}

impl StoreKeys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    pub(crate) fn bucket(&self, bucket: u16) -> Keys {
        let prefix = &self.prefix;
        Keys { tag: format!("{{{prefix}:{bucket}}}:").into() }
    }

    /// What the store was made with.
    pub(crate) fn store(&self) -> String {
        self.named("store")
    }

    /// Who works on it.
    pub(crate) fn workers(&self) -> String {
        self.named("workers")
    }

    /// The channel on which a process hears what its callers are told.
    pub(super) fn channel(&self, process: u64) -> String {
        self.named(format_args!("answers:{process:016x}"))
    }

    /// Who leads the fleet of edges.
    pub(super) fn control(&self) -> String {
        self.named("control")
    }

    /// The channel on which processes hear of each other.
    pub(super) fn line(&self, line: Line) -> String {
        match line {
            Line::Leader => self.named("control:leader"),
            Line::Process(process) => self.named(format_args!("control:{process:016x}")),
        }
    }

    /// How far imports are, and in which order that was written: in one slot.
    pub(super) fn imports(&self) -> [String; 2] {
        ["records", "order"].map(|name| format!("{{{}:imports}}:{name}", self.prefix))
    }

    fn named(&self, name: impl Display) -> String {
        format!("{}:{name}", self.prefix)
    }
}

/// The keys of a bucket.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    tag: Box<str>,
}

impl Keys {
    pub(crate) fn key(&self, name: impl Display) -> String {
        format!("{}{name}", self.tag)
    }

    pub(super) fn stream(&self, stream: &Stream) -> String {
        self.key(stream_name(stream))
    }

    pub(super) fn journal(&self, sku: &Sku) -> String {
        self.key(format_args!("journal:{sku}"))
    }

    pub(super) fn bought(&self, sku: &Sku) -> String {
        self.key(format_args!("bought:{sku}"))
    }

    pub(super) fn rates(&self, sku: &Sku) -> String {
        self.key(format_args!("rates:{sku}"))
    }

    /// The slot of a cluster that all of them are in.
    pub(super) fn slot(&self) -> u16 {
        slot(&self.tag)
    }
}

/// The slot of a key. Of one with a tag in braces, the tag counts.
pub(super) fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    crc16::State::<crc16::XMODEM>::calculate(hashed.as_bytes()) % SLOTS
}

/// A stream's name in keys, and in hashes of streams.
pub(super) fn stream_name(stream: &Stream) -> String {
    match stream {
        Stream::Settle => "settle".into(),
        Stream::Normal => "lane".into(),
        Stream::Hot(sku) => format!("lane:{sku}"),
    }
}

pub(super) fn parse_stream(name: &[u8]) -> Result<Stream, StoreError> {
    match name {
        b"settle" => Ok(Stream::Settle),
        b"lane" => Ok(Stream::Normal),
        _ => match name.strip_prefix(b"lane:") {
            Some(sku) => Ok(Stream::Hot(parse_sku(sku)?)),
            None => Err(malformed("stream's name")),
        },
    }
}

pub(super) fn route_name(route: Route) -> &'static str {
    match route {
        Route::Joining => "joining",
        Route::Open => "open",
        Route::Leaving => "leaving",
    }
}

pub(super) fn parse_route(name: &[u8]) -> Result<Route, StoreError> {
    match name {
        b"joining" => Ok(Route::Joining),
        b"open" => Ok(Route::Open),
        b"leaving" => Ok(Route::Leaving),
        _ => Err(malformed("route")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `CLUSTER KEYSLOT` of a server.
    #[test]
    fn slots_are_those_of_the_server() {
        let keys = StoreKeys::new("cg");
        let slots = [slot("123456789"), slot("cg:store"), slot("{cg:0}:meta"), slot("a{}b")];
        assert_eq!(slots, [12_739, 6_319, 248, 13_694]);
        assert_eq!(keys.bucket(0).slot(), slot("{cg:0}:meta"));
    }

    #[test]
    fn a_stream_is_read_as_it_is_written() {
        for stream in [Stream::Settle, Stream::Normal, Stream::Hot(Sku::parse("A:B").unwrap())] {
            assert_eq!(parse_stream(stream_name(&stream).as_bytes()).unwrap(), stream);
        }
        assert!(parse_stream(b"lanes").is_err());
    }
}
