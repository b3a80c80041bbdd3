//! The filter's life in one worker thread.

use std::rc::Rc;

use cartgate_policy::config::{Config, ConfigError};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};
use thiserror::Error;

use crate::edge::{Edge, EdgeError};
use crate::host;
use crate::request::Request;

/// How soon what was counted shows in Envoy's metrics, and a changed log level is noticed.
const TICK_MS: u32 = 200;

/// Takes the configuration and makes a [`Request`] for each request.
#[derive(Default)]
pub(crate) struct Root {
    edge: Option<Rc<Edge>>,
}

impl Context for Root {}

impl RootContext for Root {
    /// Failure mode: the filter does not start. Envoy then refuses the configuration; it never
    /// runs on half of one.
    fn on_configure(&mut self, _: usize) -> bool {
        match start() {
            Ok(edge) => {
                self.edge = Some(Rc::new(edge));
                true
            }
            Err(error) => {
                host::log(LogLevel::Error, &error.to_string());
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let Some(edge) = &self.edge {
            edge.refresh_log_level();
            edge.metrics.tell();
        }
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        let edge = self.edge.as_ref()?;
        Some(Box::new(Request::new(Rc::clone(edge))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
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
