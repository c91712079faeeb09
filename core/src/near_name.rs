//! Names that were perhaps meant.

/// Returns at most `count` of `candidates` that are written nearly like `wanted`, the nearest first and equally near
/// ones in the order given. A candidate is near when about a third of its letters may differ, or when it ends in
/// `wanted` after a `.` or `/`.
pub fn near_names<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>, count: usize) -> Vec<&'a str> {
    let wanted_letters: Vec<char> = wanted.chars().flat_map(char::to_lowercase).collect();
    let mut near: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| {
            let letters: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
            if is_last_part(&letters, &wanted_letters) {
                return Some((1, candidate));
            }
            let allowed = (wanted_letters.len().max(letters.len()) / 3).clamp(1, 4);
            // Lengths alone may tell, before the table is filled.
            if wanted_letters.len().abs_diff(letters.len()) > allowed {
                return None;
            }
            let distance = distance(&wanted_letters, &letters);
            (distance <= allowed).then_some((distance, candidate))
        })
        .collect();
    near.sort_by_key(|&(distance, _)| distance);
    near.into_iter().take(count).map(|(_, candidate)| candidate).collect()
}

fn is_last_part(letters: &[char], wanted: &[char]) -> bool {
    !wanted.is_empty()
        && letters.strip_suffix(wanted).and_then(<[char]>::last).is_some_and(|before| ['.', '/'].contains(before))
}

/// Counts the letters to insert, delete, replace or swap with their neighbour (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                let before: &Vec<usize> = &before;
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_find_the_name_meant() {
        let names = ["main", "topic/parser", "release", "v1.0"];
        for (wanted, meant) in [
            ("mian", &["main"][..]),
            ("maim", &["main"]),
            ("MAIN", &["main"]),
            ("relaese", &["release"]),
            ("parser", &["topic/parser"]),
            ("v1.1", &["v1.0"]),
            ("completely", &[]),
            ("", &[]),
        ] {
            assert_eq!(near_names(wanted, names, 3), meant, "{wanted}");
        }
    }

    #[test]
    fn the_nearest_come_first_and_no_more_than_asked() {
        assert_eq!(
            near_names("abcdef", ["abcdxy", "abcdex", "abcdef", "qwerty", "abcxef"], 3),
            ["abcdef", "abcdex", "abcxef"]
        );
    }

    #[test]
    fn distance_counts_edits() {
        let distance = |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        for (a, b, edits) in [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("ab", "ba", 1), ("kitten", "sitting", 3)] {
            assert_eq!((distance(a, b), distance(b, a)), (edits, edits), "{a} {b}");
        }
    }
}
