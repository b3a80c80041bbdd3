//! What a node of a cluster knows of all of them.

#[cfg(test)]
use crate::store::redis::keys::SLOTS;

/// `CLUSTER NODES`, and the state in `CLUSTER INFO`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClusterNodes(pub(super) Vec<ClusterNode>);

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClusterNode {
    pub(super) id: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) flags: Vec<String>,
    /// The id of its primary, if it is a replica.
    pub(super) primary: Option<String>,
    /// First and last of each range.
    pub(super) slots: Vec<(u16, u16)>,
    /// Slots on their way to it or away.
    pub(super) moving: Vec<u16>,
}

impl ClusterNodes {
    pub(super) fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(ClusterNode::parse).collect())
    }

    /// The nodes that have slots.
    pub(super) fn primaries(&self) -> impl Iterator<Item = &ClusterNode> {
        self.0.iter().filter(|node| !node.slots.is_empty())
    }

    /// The replicas of a node that work.
    pub(super) fn replicas_of(&self, primary: &str) -> usize {
        let is_its = |node: &&ClusterNode| node.primary.as_deref() == Some(primary);
        self.0.iter().filter(is_its).filter(|node| !node.has_failed()).count()
    }

    /// How many slots have a server that works.
    pub(super) fn slots_served(&self) -> usize {
        let working = self.primaries().filter(|node| !node.has_failed());
        let ranges = working.flat_map(|node| &node.slots);
        ranges.map(|&(first, last)| usize::from(last.saturating_sub(first)) + 1).sum()
    }
}

impl ClusterNode {
    /// `id host:port@bus[,name] flags primary ping pong epoch link slots...`; slots are `7`, `0-99`,
    /// `[7->-id]` of one that leaves, `[7-<-id]` of one that comes.
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [id, address, flags, primary, _, _, _, _, slots @ ..] = words.as_slice() else {
            return None;
        };
        let (host, port) = address.split(['@', ',']).next()?.rsplit_once(':')?;
        let moves = slots.iter().filter_map(|slot| slot.strip_prefix('['));
        let moving = moves.filter_map(|slot| slot.split_once('-')?.0.parse().ok()).collect();
        let ranges = slots.iter().filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some((first.parse().ok()?, last.parse().ok()?))
        });
        // A name that it announces is the one to reach it by, with TLS above all.
        let name = address.split(',').nth(1).filter(|name| !name.is_empty() && !name.contains('='));
        Some(Self {
            id: (*id).to_owned(),
            host: name.unwrap_or(host).to_owned(),
            port: port.parse().ok()?,
            flags: flags.split(',').map(str::to_owned).collect(),
            primary: (*primary != "-").then(|| (*primary).to_owned()),
            slots: ranges.collect(),
            moving,
        })
    }

    fn is(&self, flag: &str) -> bool {
        self.flags.iter().any(|found| found == flag)
    }

    /// Whether the others have agreed that it has failed, or at least this one thinks so.
    pub(super) fn has_failed(&self) -> bool {
        self.is("fail") || self.is("fail?")
    }

    /// Whether there is somebody to ask.
    pub(super) fn is_there(&self) -> bool {
        !self.is("noaddr") && !self.is("handshake")
    }

    /// Whether it is the one that was asked.
    pub(super) fn is_myself(&self) -> bool {
        self.is("myself")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
aa 10.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-5460 [93-<-bb]
bb 10.0.0.2:7000@17000,db-2.example master,fail - 0 0 2 disconnected 5461-10922 [93->-aa]
cc 10.0.0.3:7000@17000 master - 0 0 3 connected 10923-16382 16383
dd 10.0.0.4:7000@17000 slave aa 0 0 1 connected
ee :0@0 master,noaddr - 0 0 0 disconnected
";

    #[test]
    fn nodes_are_read_with_slots_and_moves() {
        let nodes = ClusterNodes::parse(NODES);
        assert_eq!(nodes.0[0].slots, [(0, 5460)]);
        assert_eq!((&nodes.0[0].moving, &nodes.0[1].moving), (&vec![93], &vec![93]));
        assert_eq!((nodes.0[1].host.as_str(), nodes.0[1].port), ("db-2.example", 7000));
        assert_eq!(nodes.0[2].slots, [(10_923, 16_382), (16_383, 16_383)]);
        assert_eq!(nodes.replicas_of("aa"), 1);
        assert_eq!(nodes.replicas_of("cc"), 0);
        assert!(!nodes.0[4].is_there() && nodes.0[1].has_failed());
    }

    #[test]
    fn slots_of_a_node_that_has_failed_are_not_served() {
        let nodes = ClusterNodes::parse(NODES);
        assert_eq!(nodes.slots_served(), usize::from(SLOTS) - 5_462);
    }
}
