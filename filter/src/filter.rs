//! All that the filter has in one worker thread.

use std::collections::BTreeMap;
use std::rc::Rc;

use cartgate_policy::answer::Answers;
use cartgate_policy::config::{BodyMode, Config, ConfigError};
use thiserror::Error;

use crate::edge::{Edge, EdgeError};
use crate::fleet::TICK_MS;
use crate::host::{self, Action, LogLevel};
use crate::reply::Reply;
use crate::request::{self, Held};

/// Configurations, and the requests that are held back. Envoy numbers both.
pub(crate) struct Filter {
    /// By root context. Envoy brings the next one beside the one in use, and more where several
    /// listeners have this filter; what is not configured yet has no edge.
    roots: BTreeMap<u32, Option<Rc<Edge>>>,
    /// The stream that was made last, and its root. Envoy makes a stream and brings its headers in one
    /// go (`Context::decodeHeaders`), so that this is all that need be kept of one that passes. What
    /// another filter has answered before is made at its end, and never brings any.
    newest: (u32, u32),
    /// By stream: what passes is not in here.
    held: BTreeMap<u32, Held>,
}

impl Filter {
    pub(crate) const fn new() -> Self {
        Self { roots: BTreeMap::new(), newest: (0, 0), held: BTreeMap::new() }
    }

    pub(crate) fn create(&mut self, context: u32, parent: u32) {
        if parent == 0 {
            self.roots.insert(context, None);
        } else {
            self.newest = (context, parent);
        }
    }

    /// Failure mode: the filter does not start. Envoy then refuses the configuration; it never runs
    /// on half of one.
    pub(crate) fn configure(&mut self, root: u32) -> bool {
        match start() {
            Ok(edge) => {
                self.roots.insert(root, Some(Rc::new(edge)));
                true
            }
            Err(error) => {
                host::log(LogLevel::Error, &error.to_string());
                false
            }
        }
    }

    pub(crate) fn tick(&self, root: u32) {
        if let Some(edge) = self.edge(root) {
            edge.tick();
        }
    }

    pub(crate) fn call_answered(&self, root: u32, call: u32, body_len: usize) {
        if let Some(edge) = self.edge(root) {
            edge.report_answered(call, body_len);
        }
    }

    pub(crate) fn request_headers(&mut self, stream: u32, end_of_stream: bool) -> Action {
        let (held, mode) = match self.root_of(stream).and_then(|root| self.edge(root)) {
            Some(edge) => (request::read_head(edge, end_of_stream), edge.config.body_mode()),
            None => (Some(refuse_unknown()), BodyMode::Strict),
        };
        let Some(held) = held else { return Action::Continue };
        // In compat mode a head does not wait for its body.
        let goes_on = mode == BodyMode::Compat && matches!(held, Held::Body(_));
        self.held.insert(stream, held);
        if goes_on { Action::Continue } else { Action::Pause }
    }

    /// Envoy gives the length of all that is held back, not only of what has just come.
    pub(crate) fn request_body(&mut self, stream: u32, len: usize, end_of_stream: bool) -> Action {
        self.go_on(stream, |held| held.body(len, end_of_stream))
    }

    /// Trailers end the body, in the place of its last callback's `end_of_stream`.
    pub(crate) fn request_trailers(&mut self, stream: u32) -> Action {
        self.go_on(stream, Held::end)
    }

    pub(crate) fn delete(&mut self, context: u32) {
        match self.held.remove(&context) {
            Some(held) => held.gone(),
            None => drop(self.roots.remove(&context)),
        }
    }

    fn go_on(&mut self, stream: u32, step: impl FnOnce(&mut Held) -> Action) -> Action {
        // What is not held back has passed.
        let Some(held) = self.held.get_mut(&stream) else { return Action::Continue };
        let action = step(held);
        if action == Action::Continue {
            self.held.remove(&stream);
        }
        action
    }

    fn root_of(&self, stream: u32) -> Option<u32> {
        let (newest, root) = self.newest;
        (newest == stream).then_some(root)
    }

    fn edge(&self, root: u32) -> Option<&Rc<Edge>> {
        self.roots.get(&root)?.as_ref()
    }
}

/// Nobody knows by which configuration a request is to be judged. Failure mode: it is refused.
fn refuse_unknown() -> Held {
    let error = EdgeError::Unconfigured;
    host::log(LogLevel::Error, &error.to_string());
    let answers = Answers::default();
    Reply::for_uncounted(&error, 0).send(&answers, answers.default_voice());
    Held::Refused
}

fn start() -> Result<Edge, StartError> {
    let config = Config::parse(&host::configuration().map_err(EdgeError::from)?)?;
    let edge = Edge::new(config)?;
    host::tick_every_ms(TICK_MS).map_err(EdgeError::from)?;
    Ok(edge)
}

/// Why the filter does not start.
#[derive(Debug, Error)]
enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Edge(#[from] EdgeError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_nothing_passes(filter: &mut Filter, stream: u32) {
        assert_eq!(filter.request_headers(stream, false), Action::Pause);
        assert_eq!(filter.request_body(stream, 1, true), Action::Pause);
        assert_eq!(filter.request_trailers(stream), Action::Pause);
    }

    #[test]
    fn what_no_configuration_is_known_for_does_not_pass() {
        let mut filter = Filter::new();
        check_nothing_passes(&mut filter, 7);
        filter.create(1, 0);
        filter.create(7, 1);
        // Natively there is no Envoy that would give the configuration.
        assert!(!filter.configure(1));
        check_nothing_passes(&mut filter, 7);
    }

    #[test]
    fn only_the_stream_that_was_made_last_has_a_root() {
        let mut filter = Filter::new();
        filter.create(1, 0);
        filter.create(2, 0);
        filter.create(7, 1);
        assert_eq!([6, 7].map(|stream| filter.root_of(stream)), [None, Some(1)]);
        filter.create(8, 2);
        assert_eq!([7, 8].map(|stream| filter.root_of(stream)), [None, Some(2)]);
    }

    #[test]
    fn nothing_is_kept_of_what_is_gone() {
        let mut filter = Filter::new();
        filter.create(1, 0);
        filter.held.insert(7, Held::Refused);
        assert_eq!(filter.request_body(7, 1, true), Action::Pause);
        assert_eq!(filter.request_trailers(7), Action::Pause);
        filter.delete(7);
        assert_eq!(filter.request_body(7, 1, true), Action::Continue);
        assert_eq!(filter.roots.len(), 1);
        filter.delete(1);
        assert!(filter.held.is_empty() && filter.roots.is_empty());
    }
}
