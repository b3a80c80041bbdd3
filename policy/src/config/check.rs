//! Parts of a configuration that must fit each other.

use super::{BodyMode, Config, ConfigError};
use crate::extract::{Route, Source};

impl Config {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.check_skus()?;
        self.check_client_limits()?;
        self.check_routes()?;
        self.check_upstream_headers()
    }

    /// A limit for what no request can be for would be one that nobody has.
    fn check_skus(&self) -> Result<(), ConfigError> {
        for sku in self.limits.keys() {
            let reason = match self.sku.parse(sku.as_str()) {
                Ok(canonical) if canonical == *sku => continue,
                Ok(canonical) => format!("by the form in `sku` this is written {canonical}"),
                Err(error) => error.to_string(),
            };
            return Err(ConfigError::at(format!("limits.{sku}"), reason));
        }
        Ok(())
    }

    fn check_upstream_headers(&self) -> Result<(), ConfigError> {
        let reads_body = self.routes().any(Route::reads_body);
        if self.upstream_headers && self.body_mode == BodyMode::Compat && reads_body {
            let reason = "the head of a request is gone when its body is read: use body_mode strict, or leave \
                          this out";
            return Err(ConfigError::at("upstream_headers", reason));
        }
        Ok(())
    }

    fn check_client_limits(&self) -> Result<(), ConfigError> {
        if self.client_limits.len() > Self::CLIENT_LIMITS_MAX {
            let reason = format!("at most {} limits per client", Self::CLIENT_LIMITS_MAX);
            return Err(ConfigError::at("client_limits", reason));
        }
        for (n, limit) in self.client_limits.iter().enumerate() {
            let mut before = self.client_limits.iter().take(n);
            if before.any(|other| other.client() == limit.client()) {
                let field = format!("client_limits[{n}].client");
                return Err(ConfigError::at(field, "listed before: leave one out"));
            }
        }
        Ok(())
    }

    fn check_routes(&self) -> Result<(), ConfigError> {
        if self.routes.is_empty() {
            return Err(ConfigError::at("routes", "nothing is limited: give at least one route"));
        }
        for (n, route) in self.routes.iter().enumerate() {
            if route.sku.is_empty() {
                let reason = "no source: say where the SKU is, such as {\"json\": \"/sku\"}";
                return Err(ConfigError::at(format!("routes[{n}].sku"), reason));
            }
            check_sources(route, &route.sku, &format!("routes[{n}].sku"))?;
            check_sources(route, &route.quantity, &format!("routes[{n}].quantity"))?;
            check_arrays(route, n)?;
            if let Some(before) = self.routes.iter().take(n).position(|other| other.covers(route)) {
                let reason = format!(
                    "routes[{before}] comes first and takes each of its requests: swap or merge them"
                );
                return Err(ConfigError::at(format!("routes[{n}]"), reason));
            }
        }
        Ok(())
    }
}

fn check_sources(route: &Route, sources: &[Source], field: &str) -> Result<(), ConfigError> {
    for (n, source) in sources.iter().enumerate() {
        if let Source::Path(name) = source
            && !route.path.has(name.as_str())
        {
            let name = name.as_str();
            let reason =
                format!("the path {} has no {{{name}}}: name one of its segments", route.path);
            return Err(ConfigError::at(format!("{field}[{n}].path"), reason));
        }
        if sources.iter().take(n).any(|other| other == source) {
            return Err(ConfigError::at(format!("{field}[{n}]"), "listed before: leave it out"));
        }
    }
    Ok(())
}

/// Lines are the items of one array: quantities belong to the SKUs beside them.
fn check_arrays(route: &Route, n: usize) -> Result<(), ConfigError> {
    let array = route.sku.iter().find_map(Source::array);
    for (field, sources) in [("sku", &route.sku), ("quantity", &route.quantity)] {
        let is_other = |source: &Source| source.array().is_some() && source.array() != array;
        if let Some(m) = sources.iter().position(is_other) {
            let reason = "lines are the items of one array, in which their SKUs are: name the same one as \
                          in sku, up to its *";
            return Err(ConfigError::at(format!("routes[{n}].{field}[{m}].json"), reason));
        }
    }
    Ok(())
}

impl Route {
    /// Whether each request of `other` is one of this route, too.
    fn covers(&self, other: &Self) -> bool {
        self.method == other.method && self.path.covers(&other.path)
    }
}
