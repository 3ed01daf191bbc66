//! Pages of lists. A token says where the next page begins, and nothing that a client could use.

use crate::read::{Invalid, Read};

const USUAL: u32 = 100;
const MOST: u32 = 1000;

/// How many entries a page has.
pub(crate) fn size(asked: u32) -> u32 {
    if asked == 0 { USUAL } else { asked.min(MOST) }
}

/// Where a page begins: a number of `N` parts, all 0 for the first page.
pub(crate) fn begin<const N: usize>(token: &str) -> Read<[u64; N]> {
    let mut parts = [0; N];
    if token.is_empty() {
        return Ok(parts);
    }
    let wrong = || Invalid::new("page_token", "is none that this method gave");
    let mut texts = token.split('-');
    for part in &mut parts {
        *part = texts
            .next()
            .and_then(|text| u64::from_str_radix(text, 36).ok())
            .ok_or_else(wrong)?;
    }
    if texts.next().is_some() {
        return Err(wrong());
    }
    Ok(parts)
}

/// The token of a page that begins there.
pub(crate) fn token<const N: usize>(parts: [u64; N]) -> String {
    let texts: Vec<String> = parts.iter().map(|part| base36(*part)).collect();
    texts.join("-")
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(number % 36).unwrap_or(0);
        digits.push(char::from_digit(digit, 36).unwrap_or('0'));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

/// A page of a list that is there as a whole, and the token of the next one.
pub(crate) fn of<T>(all: Vec<T>, asked: u32, page_token: &str) -> Read<(Vec<T>, String)> {
    let [from] = begin(page_token)?;
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let count = size(asked) as usize;
    let next = from.saturating_add(count);
    let more = all.len() > next;
    let page = all.into_iter().skip(from).take(count).collect();
    let next = if more {
        token([next as u64])
    } else {
        String::new()
    };
    Ok((page, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was_given_and_nothing_else_is_taken() {
        for parts in [[0, 0], [1, 35], [36, u64::MAX]] {
            assert_eq!(begin(&token(parts)), Ok(parts));
        }
        assert_eq!(begin::<2>(""), Ok([0, 0]));
        for wrong in ["x", "1-2-3", "1-", "1-Ü", "-1-2", "1-99999999999999"] {
            assert!(begin::<2>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pages_join_up_to_the_whole_list() {
        let all: Vec<u32> = (0..250).collect();
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let (page, next) = of(all.clone(), 0, &token).unwrap();
            seen.extend(page);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(seen, all);
        assert_eq!(size(0), 100);
        assert_eq!(size(5000), 1000);
    }
}
