//! Workloads of a mesh: the service's own sidecar has seen their certificates, and says whose they are.

use std::collections::{BTreeMap, HashMap};

use super::{Client, Scope};

/// What each workload may ask for, by its identity.
pub(super) struct Mesh(HashMap<String, Client>);

impl Mesh {
    /// `None`: of no mesh.
    pub(super) fn new(workloads: &BTreeMap<String, Vec<Scope>>) -> Option<Self> {
        let client = |(identity, scopes): (&String, &Vec<Scope>)| {
            let scopes = scopes.iter().copied().collect();
            (identity.clone(), Client { name: identity.as_str().into(), scopes })
        };
        (!workloads.is_empty()).then(|| Self(workloads.iter().map(client).collect()))
    }

    /// Whose request this is, by `x-forwarded-client-cert`: the last element is what our own sidecar says,
    /// those before it are what it was told.
    pub(super) fn client(&self, forwarded: &[u8]) -> Option<Client> {
        let forwarded = std::str::from_utf8(forwarded).ok()?;
        let own = elements(forwarded, ',').last()?;
        let uri = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("uri").then(|| value.trim_matches('"').to_owned())
        };
        let mut uris = elements(own, ';').filter_map(uri);
        match (uris.next(), uris.next()) {
            (Some(identity), None) => self.0.get(&identity).cloned(),
            _ => None,
        }
    }
}

/// The parts of a text between these signs, but for those in quotes.
fn elements(text: &str, between: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |sign| {
        let is_end = sign == between && !is_quoted;
        match sign {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        is_end
    })
}

#[cfg(test)]
mod tests {
    use super::super::Scopes;
    use super::*;

    const CART: &str = "spiffe://cluster.local/ns/shop/sa/legacy-cart";

    #[test]
    fn what_the_own_sidecar_says_counts_and_nothing_before_it() {
        let workloads = BTreeMap::from([(CART.to_owned(), vec![Scope::Reserve])]);
        let mesh = Mesh::new(&workloads).unwrap();
        let scopes: Scopes = [Scope::Reserve].into_iter().collect();
        let cart = Some(Client { name: CART.into(), scopes });
        let check = |forwarded: &str, expected: &Option<Client>| {
            assert_eq!(&mesh.client(forwarded.as_bytes()), expected, "{forwarded}");
        };
        let other = "spiffe://cluster.local/ns/shop/sa/other";
        check(&format!("By=spiffe://x;Hash=0a;Subject=\"\";URI={CART}"), &cart);
        check(&format!("Hash=0a;Subject=\"CN=\\\"a,b;URI={other}\";URI={CART}"), &cart);
        check(&format!("URI={other},By=x;URI={CART}"), &cart);
        // Somebody else, who has written our client's name before that, or into what is quoted.
        check(&format!("URI={CART},By=x;URI={other}"), &None);
        check(&format!("By=x;Subject=\",URI={CART}\";URI={other}"), &None);
        check(&format!("URI={other};URI={CART}"), &None);
        check("By=x;Hash=0a", &None);
        check("", &None);
        assert!(Mesh::new(&BTreeMap::new()).is_none());
    }
}
