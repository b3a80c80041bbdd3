//! The scripts that run in Redis: each is one atomic step of the protocol.

use std::sync::OnceLock;

use redis::{Cmd, Pipeline, Script, cmd};

/// A script.
pub(super) struct Step {
    code: &'static str,
    hash: OnceLock<String>,
}

pub(super) static OPEN: Step = Step::new(include_str!("scripts/open.lua"));
pub(super) static ACQUIRE: Step = Step::new(include_str!("scripts/acquire.lua"));
pub(super) static RENEW: Step = Step::new(include_str!("scripts/renew.lua"));
pub(super) static POST: Step = Step::new(concat!("#!lua\n", include_str!("scripts/post.lua")));
/// The same for what must also get through when memory is full.
pub(super) static POST_SETTLE: Step =
    Step::new(concat!("#!lua flags=allow-oom\n", include_str!("scripts/post.lua")));
pub(super) static COMMIT: Step = Step::new(include_str!("scripts/commit.lua"));
pub(super) static COUNT: Step = Step::new(include_str!("scripts/count.lua"));
pub(super) static REPORT: Step = Step::new(include_str!("scripts/report.lua"));
pub(super) static LEAD: Step = Step::new(include_str!("scripts/lead.lua"));
pub(super) static IMPORT: Step = Step::new(include_str!("scripts/import.lua"));

/// All of them: what a server forgets, it forgets together.
static ALL: [&Step; 10] =
    [&OPEN, &ACQUIRE, &RENEW, &POST, &POST_SETTLE, &COMMIT, &COUNT, &REPORT, &LEAD, &IMPORT];

impl Step {
    const fn new(code: &'static str) -> Self {
        Self { code, hash: OnceLock::new() }
    }

    /// The beginning of a call; its arguments follow. A server that does not have the script says so
    /// and does nothing: then [`load`].
    pub(super) fn call(&self, keys: &[String]) -> Cmd {
        let hash = self.hash.get_or_init(|| Script::new(self.code).get_hash().into());
        let mut call = cmd("EVALSHA");
        call.arg(hash).arg(keys.len()).arg(keys);
        call
    }
}

/// Gives a server all scripts.
pub(super) fn load() -> Pipeline {
    let mut load = redis::pipe();
    for step in ALL {
        load.cmd("SCRIPT").arg("LOAD").arg(step.code);
    }
    load
}
