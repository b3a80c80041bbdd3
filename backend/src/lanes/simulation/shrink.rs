//! Makes a history that fails as short as it can be.

/// Leaves out of `ops` what `fails` does without: large pieces first, then smaller ones, then one by
/// one, until none can be left out any more.
pub(super) fn shrink<T: Copy>(mut ops: Vec<T>, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut size = ops.len().div_ceil(2).max(1);
    loop {
        let before = ops.len();
        let mut from = 0;
        while from < ops.len() {
            let until = (from + size).min(ops.len());
            let without = [&ops[..from], &ops[until..]].concat();
            if fails(&without) {
                ops = without;
            } else {
                from = until;
            }
        }
        if size > 1 {
            size = size.div_ceil(2);
        } else if ops.len() == before {
            return ops;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::Op;
    use super::*;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let ops: Vec<_> = (0..100).map(|key| Op::Release { key }).collect();
        let needed = [3, 50, 51, 99].map(|key| Op::Release { key });
        let short = shrink(ops, |ops| needed.iter().all(|op| ops.contains(op)));
        assert_eq!(short, needed);
    }
}
