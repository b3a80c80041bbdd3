//! The serialised form of headers (proxy-wasm ABI 0.2.1).
//!
//! ```text
//! count (4 bytes), then for each header: name length (4), value length (4),
//! then for each header: name, 0, value, 0        (all numbers little endian)
//! ```

/// Reads names and values; `None` if `bytes` is no such form.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let (count, rest) = take_u32(bytes)?;
    let (lengths, mut texts) = rest.split_at_checked(count.checked_mul(8)?)?;
    let mut headers = Vec::with_capacity(count);
    for lengths in lengths.chunks_exact(8) {
        let (name_len, lengths) = take_u32(lengths)?;
        let (value_len, _) = take_u32(lengths)?;
        let (name, value);
        (name, texts) = take_text(texts, name_len)?;
        (value, texts) = take_text(texts, value_len)?;
        headers.push((name, value));
    }
    Some(headers)
}

/// Writes names and values.
pub(crate) fn encode(headers: &[(&[u8], &[u8])]) -> Vec<u8> {
    // Wasm's lengths are 32 bits wide: no slice is longer.
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = number(headers.len()).to_vec();
    for (name, value) in headers {
        bytes.extend(number(name.len()));
        bytes.extend(number(value.len()));
    }
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend_from_slice(text);
        bytes.push(0);
    }
    bytes
}

fn take_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

fn take_text(bytes: &[u8], len: usize) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(len)?;
    Some((text, rest.strip_prefix(&[0])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_in_names_and_values() {
        for headers in [
            &[][..],
            &[(&b":path"[..], &b"/"[..]), (b"x-sku", b""), (b"x-sku", b"\xff\0")],
            &[(b"", b"")],
        ] {
            assert_eq!(decode(&encode(headers)).as_deref(), Some(headers));
        }
        assert_eq!(decode(b""), Some(Vec::new()));
    }

    #[test]
    fn malformed() {
        let good = encode(&[(b":method", b"POST"), (b"a", b"b")]);
        for len in 1..good.len() {
            assert_eq!(decode(&good[..len]), None, "{len}");
        }
        assert_eq!(decode(&[255; 64]), None);
    }
}
