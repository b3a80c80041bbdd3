//! What a client may ask for.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A part of what the service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Hold stock, and settle what is held: a frontend.
    Reserve,
    /// Put up stock, and read it.
    Stock,
    /// Say which products are hot, and by what terms.
    HotItems,
    /// Report what an edge is asked for.
    Edge,
    /// Read everything, metrics among it.
    Read,
    /// Everything.
    Admin,
}

impl Scope {
    const ALL: [Self; 6] =
        [Self::Reserve, Self::Stock, Self::HotItems, Self::Edge, Self::Read, Self::Admin];

    /// Its name, as in tokens, JWTs and the OpenAPI document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Stock => "stock",
            Self::HotItems => "hot-items",
            Self::Edge => "edge",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|scope| scope.name() == name).ok_or(())
    }
}

/// A set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Of one who may do everything.
    pub fn all() -> Self {
        Self(Scope::Admin.bit())
    }

    /// Whether whoever has these may ask for what one of `wanted` opens.
    pub fn open(self, wanted: Self) -> bool {
        self.0 & (wanted.0 | Scope::Admin.bit()) != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.0 & scope.bit() != 0)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |all, scope| all | scope.bit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_has_one_name_everywhere() {
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.name());
            assert_eq!(scope.to_possible_value().unwrap().get_name(), scope.name());
        }
        assert_eq!("all".parse::<Scope>(), Err(()));
    }

    #[test]
    fn one_of_what_is_wanted_is_enough_and_admin_always_is() {
        let of = |scopes: &[Scope]| scopes.iter().copied().collect::<Scopes>();
        let wanted = of(&[Scope::Stock, Scope::Read]);
        assert!(of(&[Scope::Reserve, Scope::Read]).open(wanted));
        assert!(of(&[Scope::Admin]).open(wanted) && of(&[Scope::Admin]).open(Scopes::default()));
        assert!(!of(&[Scope::Reserve, Scope::Edge]).open(wanted));
        assert!(!Scopes::default().open(wanted));
        assert_eq!(wanted.iter().collect::<Vec<_>>(), [Scope::Stock, Scope::Read]);
    }
}
