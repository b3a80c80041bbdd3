//! What the OpenAPI document says of the service as a whole.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, Info, License, OpenApi, OpenApiBuilder};

/// The name under which routes say what scope they want.
pub(super) const TOKEN: &str = "token";

/// The document without its routes.
pub(super) fn head() -> OpenApi {
    let mut info = Info::new("cartgate", env!("CARGO_PKG_VERSION"));
    info.license = Some(License::new("Apache-2.0"));
    info.description = Some(
        "Holds stock while a customer has it in the cart. A client needs a token with one of the scopes \
         that a route names, unless the service runs in development mode."
            .to_owned(),
    );
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("As `cartgate token create` makes them, or a JWT of your issuer."))
        .build();
    let components = ComponentsBuilder::new().security_scheme(TOKEN, SecurityScheme::Http(token));
    OpenApiBuilder::new().info(info).components(Some(components.build())).build()
}
