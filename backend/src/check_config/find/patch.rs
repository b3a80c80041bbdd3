//! Patches of EnvoyFilters, and which of them meet in a proxy.

use std::ptr;

use serde_json::Value as Json;

use super::super::place::Place;

/// Where Istio looks for what is for the whole mesh, unless it was told another namespace.
const ROOT_NAMESPACE: &str = "istio-system";

/// A patch of an EnvoyFilter.
#[derive(Clone, Debug)]
pub(in super::super) struct Patch<'t> {
    pub(in super::super) place: Place<'t>,
    /// The EnvoyFilter.
    pub(in super::super) document: Place<'t>,
}

impl<'t> Patch<'t> {
    pub(in super::super) fn applies_to(&self, what: &str) -> bool {
        self.place.text_at("apply_to") == Some(what)
    }

    pub(in super::super) fn operation(&self) -> &'t str {
        self.place.text_at("patch.operation").unwrap_or("none")
    }

    /// Which proxies it is for: `ANY`, `SIDECAR_INBOUND`, `GATEWAY`, ...
    pub(in super::super) fn context(&self) -> &'t str {
        self.place.text_at("match.context").unwrap_or("ANY")
    }

    pub(in super::super) fn value(&self, path: &str) -> Option<Place<'t>> {
        self.place.at("patch.value")?.at(path)
    }

    /// What it adds to the extensions that filters are found among, and its name.
    pub(in super::super) fn extension(&self) -> Option<&'t str> {
        let name = self.value("name").filter(|_| self.applies_to("EXTENSION_CONFIG"));
        name.and_then(|name| name.text())
    }

    /// The name of the extension that it has the proxy ask for, to put it into a chain.
    pub(in super::super) fn asks_for(&self) -> Option<&'t str> {
        let is_other = !self.applies_to("HTTP_FILTER") || self.value("typed_config").is_some();
        self.value("name").filter(|_| !is_other)?.text()
    }

    /// `istio/edge/gateway.yaml:21`
    pub(in super::super) fn line(&self) -> String {
        format!("{}:{}", self.place.spot.file, self.place.spot.line)
    }

    /// Whether it is of the same EnvoyFilter.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        ptr::eq(self.document.node, other.document.node)
    }

    /// Whether it is for all that `other` is for.
    pub(super) fn covers(&self, other: &Self) -> bool {
        (self.context() == "ANY" || self.context() == other.context()) && self.reaches(other)
    }

    /// Whether it may be for a part of what `other` is for, at least.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let contexts = [self.context(), other.context()];
        (contexts.contains(&"ANY") || contexts[0] == contexts[1])
            && (self.reaches(other) || other.reaches(self))
    }

    /// Whether each proxy that the EnvoyFilter of `other` is for has this one, too, as far as can be seen.
    pub(in super::super) fn reaches(&self, other: &Self) -> bool {
        let (own, theirs) = (&self.document, &other.document);
        let json = |place: &Place<'_>, path: &str| place.at(path).map(|at| at.node.to_json());
        let namespace = own.text_at("metadata.namespace");
        let is_near =
            namespace == theirs.text_at("metadata.namespace") || namespace == Some(ROOT_NAMESPACE);
        let targets = json(own, "spec.target_refs");
        let is_target = targets.is_none() || targets == json(theirs, "spec.target_refs");
        let labels = labels(own);
        let their_labels = self::labels(theirs);
        is_near && is_target && labels.iter().all(|label| their_labels.contains(label))
    }
}

/// Those that a pod must have for an EnvoyFilter to be for it.
fn labels<'t>(document: &Place<'t>) -> Vec<(&'t str, Json)> {
    let labels = document.at("spec.workload_selector.labels");
    let labels = labels.map(|labels| labels.members()).unwrap_or_default().into_iter();
    labels.map(|(name, label)| (name, label.node.to_json())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::read;
    use super::super::all;

    /// An EnvoyFilter with one patch.
    fn yaml(metadata: &str, spec: &str, context: &str) -> String {
        format!(
            "kind: EnvoyFilter\nmetadata: {{{metadata}}}\nspec:\n  {spec}\n  configPatches:\n  \
             - match: {{context: {context}}}\n"
        )
    }

    /// Whether the first covers the second, and meets it.
    fn check(first: &str, second: &str, expected: (bool, bool)) {
        let documents = read("f.yaml", &format!("{first}---\n{second}")).unwrap();
        let (_, world) = all(&documents, |_| false);
        let [first, second] = world.patches.as_slice() else { panic!() };
        assert_eq!((first.covers(second), first.meets(second)), expected, "{documents:?}");
        assert_eq!(second.meets(first), expected.1, "{documents:?}");
    }

    #[test]
    fn a_context_is_covered_by_itself_and_by_any() {
        let of = |context: &str| yaml("", "", context);
        check(&of("GATEWAY"), &of("GATEWAY"), (true, true));
        check(&of("ANY"), &of("GATEWAY"), (true, true));
        check(&of("GATEWAY"), &of("ANY"), (false, true));
        check(&of("GATEWAY"), &of("SIDECAR_INBOUND"), (false, false));
    }

    #[test]
    fn an_envoyfilter_reaches_those_that_it_selects() {
        let of = |namespace: &str, labels: &str| {
            let selector = format!("workloadSelector: {{labels: {{{labels}}}}}");
            yaml(&format!("namespace: {namespace}"), &selector, "ANY")
        };
        check(&of("shop", "a: b"), &of("shop", "a: b"), (true, true));
        check(&of("shop", ""), &of("shop", "a: b"), (true, true));
        check(&of("shop", "a: b"), &of("shop", ""), (false, true));
        check(&of("shop", "a: b"), &of("shop", "a: c"), (false, false));
        check(&of("shop", "a: b"), &of("other", "a: b"), (false, false));
        check(&of("istio-system", ""), &of("other", "a: b"), (true, true));
        let target = |name: &str| yaml("", &format!("targetRefs: [{{name: {name}}}]"), "ANY");
        check(&target("a"), &target("a"), (true, true));
        check(&target("a"), &target("b"), (false, false));
        check(&target("a"), &yaml("", "", "ANY"), (false, true));
    }
}
