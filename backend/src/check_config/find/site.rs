//! Where filters meet requests, each place with what else there is in the proxies there.

use super::super::place::{Place, Spot};
use super::{Filter, Home, MANAGER, Patch, World};

/// A place where requests meet a filter. One filter may have several in a mesh.
#[derive(Debug)]
pub(in super::super) struct Site<'t> {
    /// In a mesh, the patch that puts it there.
    pub(in super::super) patch: Option<Patch<'t>>,
    managers: Settings<'t>,
    listeners: Settings<'t>,
    /// Where what is around it would be, if none of that can be seen.
    spot: Spot,
}

/// Connection managers or listeners, or what patches make of them. Of one file or EnvoyFilter, the last that
/// sets something wins; which EnvoyFilter comes last depends on their priority and age.
type Settings<'t> = Vec<Vec<Place<'t>>>;

impl<'t> Site<'t> {
    /// What the connection managers say at `path`: mostly once, or not at all.
    pub(in super::super) fn of_manager(&self, path: &str) -> Vec<Place<'t>> {
        said(&self.managers, path)
    }

    /// What the listeners say at `path`.
    pub(in super::super) fn of_listener(&self, path: &str) -> Vec<Place<'t>> {
        said(&self.listeners, path)
    }

    /// The items of all lists at `path`: patches add to a list.
    pub(in super::super) fn items_of_manager(&self, path: &str) -> Vec<Place<'t>> {
        self.managers.iter().flatten().flat_map(|manager| manager.items_at(path)).collect()
    }

    /// Where a connection manager would say what is at `path`.
    pub(in super::super) fn spot_in_manager(&self, path: &str) -> Spot {
        let last = self.managers.iter().flatten().last();
        last.map_or_else(|| self.spot.clone(), |manager| manager.spot_of(path))
    }

    /// Where a patch of this place's proxies would be.
    pub(in super::super) fn spot(&self) -> Spot {
        self.spot.clone()
    }
}

fn said<'t>(settings: &Settings<'t>, path: &str) -> Vec<Place<'t>> {
    let last = |of_one: &Vec<Place<'t>>| of_one.iter().rev().find_map(|place| place.at(path));
    settings.iter().filter_map(last).collect()
}

impl<'t> World<'t> {
    /// Where requests meet a filter: nowhere, if no patch puts it into a chain.
    pub(in super::super) fn sites(&self, filter: &Filter<'t>) -> Vec<Site<'t>> {
        match &filter.home {
            Home::Chain { manager, listener } => vec![Site {
                patch: None,
                managers: vec![vec![manager.clone()]],
                listeners: vec![listener.iter().cloned().collect()],
                spot: filter.place.spot.clone(),
            }],
            Home::Patch(_) => {
                let spot = |patch: &Patch<'_>| patch.document.spot_of("spec.config_patches");
                let inserts = self.inserts(filter).into_iter();
                inserts.map(|patch| self.site(spot(&patch), Some(patch))).collect()
            }
            Home::Plugin(_) => vec![self.site(filter.plugin.spot.clone(), None)],
            Home::Alone => vec![Site {
                patch: None,
                managers: Vec::new(),
                listeners: Vec::new(),
                spot: filter.place.spot.clone(),
            }],
        }
    }

    /// The patches that put a filter of a patch into a chain, or try to, in whatever EnvoyFilters.
    pub(in super::super) fn inserts(&self, filter: &Filter<'t>) -> Vec<Patch<'t>> {
        match &filter.home {
            Home::Patch(own) if own.applies_to("HTTP_FILTER") => vec![own.clone()],
            _ => {
                let asks = |patch: &&Patch<'_>| patch.asks_for() == Some(filter.name.as_str());
                self.patches.iter().filter(asks).cloned().collect()
            }
        }
    }

    /// The patches that may say something for routes in the proxies of `own`.
    pub(in super::super) fn of_routes(&self, own: &Patch<'t>) -> Vec<&Patch<'t>> {
        let kinds = ["HTTP_ROUTE", "VIRTUAL_HOST", "ROUTE_CONFIGURATION"];
        let is_one = |patch: &&Patch<'_>| {
            patch.operation() == "MERGE"
                && kinds.iter().any(|kind| patch.applies_to(kind))
                && patch.meets(own)
        };
        self.patches.iter().filter(is_one).collect()
    }

    fn site(&self, spot: Spot, patch: Option<Patch<'t>>) -> Site<'t> {
        let manager = |place: Place<'t>| {
            let (kind, manager) = place.at("typed_config")?.typed()?;
            (kind == MANAGER).then_some(manager)
        };
        Site {
            managers: self.merged("NETWORK_FILTER", patch.as_ref(), manager),
            listeners: self.merged("LISTENER", patch.as_ref(), Some),
            patch,
            spot,
        }
    }

    /// What patches merge into all that `own` is for, by EnvoyFilter.
    fn merged(
        &self,
        what: &str,
        own: Option<&Patch<'t>>,
        of: impl Fn(Place<'t>) -> Option<Place<'t>>,
    ) -> Settings<'t> {
        let is_one = |patch: &&Patch<'t>| {
            patch.applies_to(what)
                && patch.operation() == "MERGE"
                && own.is_none_or(|own| patch.covers(own))
        };
        let by_document = self.patches.chunk_by(Patch::is_beside).map(|patches| {
            let values = patches.iter().filter(is_one);
            values.filter_map(|patch| of(patch.place.at("patch.value")?)).collect()
        });
        by_document.filter(|values: &Vec<_>| !values.is_empty()).collect()
    }
}
