//! The one place where randomness comes from: the operating system.

/// Random bytes.
///
/// # Panics
/// If the operating system has none to give, which on the systems that we run on it has from the
/// moment a process can start; without them ids would not be unique.
#[expect(clippy::expect_used, reason = "see Panics")]
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
