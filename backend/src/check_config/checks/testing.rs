//! What checks find in a sample, after something in it was changed.

use super::super::find;
use super::super::report::{Examined, Finding, Level};
use super::super::{check as check_documents, read};
use super::Check;

pub(super) use super::super::samples::{ENVOY, ISTIO, PLUGIN};

/// What all checks find in a file with one filter.
pub(super) fn examine(yaml: &str) -> Examined {
    let documents = read("f.yaml", yaml).unwrap();
    check_documents(&documents, |_| false).unwrap().remove(0)
}

/// What a check finds in a file, after one text of it was replaced by another.
pub(super) fn findings(judge: Check, yaml: &str, (from, to): (&str, &str)) -> Vec<Finding> {
    assert!(yaml.contains(from), "{from:?} is not there");
    let documents =
        read("f.yaml", &yaml.replacen(from, to, usize::from(!from.is_empty()))).unwrap();
    let (filters, world) = find::all(&documents, |path| path.ends_with("here.wasm"));
    judge(filters.first().unwrap(), &world)
}

/// Checks the worst that is found, and that whatever is not good can be mended.
#[track_caller]
pub(super) fn check(judge: Check, yaml: &str, change: (&str, &str), level: Level, part: &str) {
    let findings = findings(judge, yaml, change);
    let worst = findings.iter().max_by_key(|finding| finding.level).unwrap();
    let text = format!("{} {}", worst.found, worst.remedy.as_deref().unwrap_or_default());
    assert_eq!(worst.level, level, "{worst:?}");
    assert!(text.contains(part), "{worst:?}");
    for Finding { level, line, field, remedy, .. } in &findings {
        assert_eq!(remedy.is_none(), *level == Level::Good, "{findings:?}");
        assert!(*line > 0 && !field.is_empty(), "{findings:?}");
    }
}
