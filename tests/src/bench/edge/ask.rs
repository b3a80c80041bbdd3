//! What clients ask for: the same request in each of the places where a SKU can be.

use std::net::SocketAddr;

use super::super::request::{Skus, Template};

/// Digits of a SKU.
const SKU: &str = "SKU-$$$$$$$$";

/// How long a JSON body is: a cart page's, with more in it than anybody reads.
const JSON_LEN: usize = 1_024;

/// Where the SKU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `x-sku`, and the quantity in `x-quantity`.
    Header,
    /// A segment of the path.
    Path,
    /// A body of 1 KiB.
    Json,
    /// A body as browsers post forms.
    Form,
}

impl Place {
    /// The request, for SKUs of a traffic. In headers it asks for so many units, elsewhere for one.
    pub(super) fn request(self, address: SocketAddr, skus: Skus, units: u32) -> Template {
        let by_header = format!("x-sku: {SKU}\r\nx-quantity: {units}\r\n");
        let (path, header, body) = match self {
            Self::Header => ("/by-header".to_owned(), by_header, String::new()),
            Self::Path => (format!("/by-path/{SKU}"), String::new(), String::new()),
            Self::Json => ("/by-json".to_owned(), content_type("json"), json()),
            Self::Form => ("/by-form".to_owned(), content_type("x-www-form-urlencoded"), form()),
        };
        // What a browser sends as well, more or less.
        let text = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nuser-agent: bench/1.0 (like a browser)\r\n\
             accept: application/json, text/html;q=0.9\r\naccept-language: ja,en;q=0.8\r\n\
             cookie: session=0123456789abcdef0123456789abcdef\r\n{header}content-length: {}\r\n\r\n\
             {body}",
            body.len()
        );
        Template::new(&text, skus)
    }
}

fn content_type(kind: &str) -> String {
    format!("content-type: application/{kind}\r\n")
}

fn json() -> String {
    let (head, tail) = (format!(r#"{{"sku":"{SKU}","quantity":1,"note":""#), r#""}"#);
    let filler = "x".repeat(JSON_LEN - head.len() - tail.len());
    format!("{head}{filler}{tail}")
}

fn form() -> String {
    format!("sku={SKU}&quantity=1&customer_id=somebody&return_to=%2Fcart")
}
