//! The filter's life in one worker thread.

use std::rc::Rc;
use std::time::Duration;

use cartgate_policy::config::Config;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};

use crate::edge::Edge;
use crate::host;
use crate::request::Request;

/// How soon a changed log level is noticed.
const TICK: Duration = Duration::from_secs(1);

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
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        let edge = Config::parse(&bytes)
            .map_err(|error| error.to_string())
            .and_then(|config| Edge::new(config).map_err(|error| error.to_string()));
        match edge {
            Ok(edge) => {
                self.edge = Some(Rc::new(edge));
                self.set_tick_period(TICK);
                true
            }
            Err(error) => {
                host::log(LogLevel::Error, &error);
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let Some(edge) = &self.edge {
            edge.refresh_log_level();
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
