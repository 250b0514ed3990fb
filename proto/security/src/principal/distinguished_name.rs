//! A certificate's subject as Java's `X500Principal` writes it (RFC 2253), for that is the name in everybody's ACLs and
//! rules. The certificate's signature was verified before; what is malformed all the same has no name.

/// The attributes that have a name in RFC 2253; others are written as their numbers.
const KEYWORDS: &[(&[u8], &str)] = &[
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
];

const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const TELETEX_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const UNIVERSAL_STRING: u8 = 0x1c;
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;

/// One element of DER: its tag, its contents, and all of it.
struct Element<'a> {
    tag: u8,
    contents: &'a [u8],
    whole: &'a [u8],
}

/// Takes the next element off.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<Element<'a>> {
    let all = *bytes;
    let (&tag, rest) = all.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let count = usize::from(first & 0x7f);
        if !(1..=4).contains(&count) {
            return None;
        }
        let (length, after) = rest.split_at_checked(count)?;
        rest = after;
        length.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte))
    };
    let (contents, after) = rest.split_at_checked(length)?;
    *bytes = after;
    Some(Element { tag, contents, whole: &all[..all.len() - after.len()] })
}

fn expect<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<Element<'a>> {
    next(bytes).filter(|element| element.tag == tag)
}

/// The subject of a certificate in DER.
#[must_use]
pub fn subject(certificate: &[u8]) -> Option<String> {
    let mut outer = certificate;
    let mut certificate = expect(&mut outer, SEQUENCE)?.contents;
    let mut body = expect(&mut certificate, SEQUENCE)?.contents;
    if body.first() == Some(&VERSION) {
        next(&mut body)?;
    }
    expect(&mut body, INTEGER)?;
    for _algorithm_issuer_validity in 0..3 {
        expect(&mut body, SEQUENCE)?;
    }
    name(expect(&mut body, SEQUENCE)?.contents)
}

/// The parts, the last one first.
fn name(mut bytes: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let mut set = expect(&mut bytes, SET)?.contents;
        let mut attributes = Vec::new();
        while !set.is_empty() {
            attributes.push(attribute(expect(&mut set, SEQUENCE)?.contents)?);
        }
        parts.push(attributes.join("+"));
    }
    parts.reverse();
    Some(parts.join(","))
}

fn attribute(mut bytes: &[u8]) -> Option<String> {
    let kind = expect(&mut bytes, OBJECT_IDENTIFIER)?.contents;
    let value = next(&mut bytes)?;
    let keyword = KEYWORDS.iter().find(|(id, _)| *id == kind).map(|(_, keyword)| *keyword);
    match (keyword, text(&value)) {
        (Some(keyword), Some(text)) => Some(format!("{keyword}={}", escaped(&text))),
        (keyword, _) => {
            let hex: String = value.whole.iter().map(|byte| format!("{byte:02x}")).collect();
            let kind = keyword.map(str::to_owned).or_else(|| dotted(kind))?;
            Some(format!("{kind}=#{hex}"))
        }
    }
}

fn text(value: &Element<'_>) -> Option<String> {
    let bytes = value.contents;
    match value.tag {
        UTF8_STRING | PRINTABLE_STRING | IA5_STRING => String::from_utf8(bytes.to_vec()).ok(),
        TELETEX_STRING => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        BMP_STRING => {
            let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        UNIVERSAL_STRING => {
            let units =
                bytes.chunks_exact(4).map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]));
            units.map(char::from_u32).collect()
        }
        _ => None,
    }
}

fn dotted(id: &[u8]) -> Option<String> {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0u64;
    for byte in id {
        number = number.checked_mul(128)?.checked_add(u64::from(byte & 0x7f))?;
        if byte & 0x80 == 0 {
            numbers.push(number);
            number = 0;
        }
    }
    let (first, rest) = numbers.split_first()?;
    let root = (first / 40).min(2);
    let all = [root, first - root * 40].into_iter().chain(rest.iter().copied());
    Some(all.map(|number| number.to_string()).collect::<Vec<_>>().join("."))
}

/// A value as RFC 2253 has it.
fn escaped(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut out = String::new();
    for (position, character) in text.chars().enumerate() {
        let at_edge = position == 0 || position == last;
        let is_special = matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (character == '#' && position == 0)
            || (character == ' ' && at_edge);
        if is_special {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
        let length = u8::try_from(contents.len()).unwrap();
        let length = if length < 0x80 { vec![length] } else { vec![0x81, length] };
        [&[tag][..], &length, contents].concat()
    }

    fn part(kind: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        der(SET, &der(SEQUENCE, &[der(OBJECT_IDENTIFIER, kind), der(tag, value)].concat()))
    }

    fn certificate(name: &[u8]) -> Vec<u8> {
        let empty = der(SEQUENCE, &[]);
        let body = [
            der(VERSION, &der(INTEGER, &[2])),
            der(INTEGER, &[1]),
            empty.clone(),
            empty.clone(),
            empty.clone(),
            der(SEQUENCE, name),
            empty,
        ];
        der(SEQUENCE, &der(SEQUENCE, &body.concat()))
    }

    #[test]
    fn a_subject_is_written_as_java_writes_it() {
        let name = [
            part(&[0x55, 4, 6], PRINTABLE_STRING, b"CZ"),
            part(&[0x55, 4, 10], UTF8_STRING, "Řeka, s.r.o.".as_bytes()),
            part(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], IA5_STRING, b"a@b"),
            part(&[0x55, 4, 3], UTF8_STRING, b" #x+y "),
        ]
        .concat();
        let expected = "CN=\\ #x\\+y\\ ,1.2.840.113549.1.9.1=#1603614062,O=Řeka\\, s.r.o.,C=CZ";
        assert_eq!(subject(&certificate(&name)).as_deref(), Some(expected));
    }

    #[test]
    fn what_is_cut_off_has_no_name() {
        let whole = certificate(&part(&[0x55, 4, 3], UTF8_STRING, b"a"));
        assert_eq!(subject(&whole).as_deref(), Some("CN=a"));
        for length in 0..whole.len() {
            assert_eq!(subject(&whole[..length]), None, "{length}");
        }
        assert_eq!(subject(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
