//! Who is to have how much of a limit.

/// Divides `limit` among those who ask for `demands`, max-min fair (Bertsekas, Gallager, *Data Networks*,
/// 1992, section 6.5.2): nobody gets more while somebody who got less could use it. What nobody asks for is
/// divided evenly, for whoever will ask next. All of the limit is given, in whole units.
///
/// What cannot be divided goes round: in each `turn` it is others who get one more. So with a limit below
/// one unit for each, whole units rotate.
pub fn divide(limit: u32, demands: &[u32], turn: u64) -> Vec<u32> {
    let level = level(limit, demands);
    let mut shares: Vec<u32> = demands.iter().map(|demand| (*demand).min(level)).collect();
    let left = limit - sum(&shares);
    let wanting: Vec<usize> = (0..demands.len()).filter(|n| demands[*n] > level).collect();
    if wanting.is_empty() {
        let all: Vec<usize> = (0..demands.len()).collect();
        share_out(left, &all, turn, &mut shares);
    } else {
        share_out(left, &wanting, turn, &mut shares);
    }
    shares
}

/// The largest number that everybody may have who asks for as much, others having what they ask for.
fn level(limit: u32, demands: &[u32]) -> u32 {
    let fits = |level: u32| {
        let given = demands.iter().map(|demand| u64::from((*demand).min(level)));
        given.sum::<u64>() <= u64::from(limit)
    };
    let (mut fitting, mut above) = (0, demands.iter().max().map_or(1, |max| u64::from(*max) + 1));
    while above - fitting > 1 {
        let middle = fitting.midpoint(above);
        if fits(u32::try_from(middle).unwrap_or(u32::MAX)) {
            fitting = middle;
        } else {
            above = middle;
        }
    }
    u32::try_from(fitting).unwrap_or(u32::MAX)
}

/// Divides what is `left` evenly among some, and lets the rest go round.
fn share_out(left: u32, among: &[usize], turn: u64, shares: &mut [u32]) {
    let Ok(count) = u32::try_from(among.len()) else { return };
    if count == 0 {
        return;
    }
    let (each, rest) = (left / count, left % count);
    // Whoever is behind those that got one more this time is first the next.
    let first = turn.wrapping_mul(rest.into()) % u64::from(count);
    for (n, place) in (0_u64..).zip(among) {
        let behind = (n + u64::from(count) - first) % u64::from(count);
        shares[*place] += each + u32::from(behind < rest.into());
    }
}

fn sum(shares: &[u32]) -> u32 {
    shares.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(limit: u32, demands: &[u32], expected: &[u32]) {
        assert_eq!(divide(limit, demands, 0), expected, "{limit} among {demands:?}");
    }

    #[test]
    fn by_demand() {
        check(100, &[], &[]);
        check(100, &[10, 500, 70], &[10, 45, 45]);
        check(100, &[10, 500, 20], &[10, 70, 20]);
        check(100, &[0, 500, 0], &[0, 100, 0]);
        check(100, &[10, 20, 40], &[20, 30, 50]);
        check(90, &[0, 0, 0], &[30, 30, 30]);
        check(0, &[5, 5], &[0, 0]);
        check(u32::MAX, &[u32::MAX, u32::MAX], &[u32::MAX / 2 + 1, u32::MAX / 2]);
    }

    #[test]
    fn what_cannot_be_divided_goes_round() {
        for (limit, demands) in [(2, [5, 9, 7, 50, 6]), (3, [0; 5]), (13, [40; 5])] {
            let mut had = [0; 5];
            for turn in 0..50 {
                let shares = divide(limit, &demands, turn);
                had.iter_mut().zip(shares).for_each(|(had, share)| *had += share);
            }
            assert_eq!(had, [limit * 10; 5]);
        }
    }

    proptest! {
        #[test]
        fn all_is_given_and_nobody_envies(
            limit in prop_oneof![0_u32..200, any::<u32>()],
            demands in prop::collection::vec(prop_oneof![0_u32..50, any::<u32>()], 1..20),
            turn in any::<u64>(),
        ) {
            let shares = divide(limit, &demands, turn);
            prop_assert_eq!(shares.iter().map(|s| u64::from(*s)).sum::<u64>(), u64::from(limit));
            for (share, demand) in shares.iter().zip(&demands) {
                // Who has less than it asks for has as much as anybody, but for one unit.
                let most = shares.iter().max().copied().unwrap_or_default();
                prop_assert!(share >= demand || share + 1 >= most);
            }
        }
    }
}
