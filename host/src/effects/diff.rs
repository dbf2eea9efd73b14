//! Differences of two lists of lines.

/// Most lines of the part that differs that are compared line by line; the work grows with their product.
const LINES_MAX: usize = 2_000;

/// Lines that were taken away (`-`) and added (`+`), in order; what is equal is left out.
///
/// Where the parts that differ are too long to compare, it is all of the one and all of the other.
pub(super) fn lines<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<(char, &'a str)> {
    let start = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let (before, after) = (&before[start..], &after[start..]);
    let end = before.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| a == b).count();
    let (before, after) = (&before[..before.len() - end], &after[..after.len() - end]);
    if before.len() > LINES_MAX || after.len() > LINES_MAX {
        let gone = before.iter().map(|line| ('-', *line));
        return gone.chain(after.iter().map(|line| ('+', *line))).collect();
    }
    walk(before, after, &common(before, after))
}

// Lengths of the longest common subsequences of all pairs of tails.
fn common(before: &[&str], after: &[&str]) -> Vec<Vec<u16>> {
    let mut lengths = vec![vec![0_u16; after.len() + 1]; before.len() + 1];
    for (i, a) in before.iter().enumerate().rev() {
        for (j, b) in after.iter().enumerate().rev() {
            lengths[i][j] = if a == b { lengths[i + 1][j + 1] + 1 } else { lengths[i + 1][j].max(lengths[i][j + 1]) };
        }
    }
    lengths
}

fn walk<'a>(before: &[&'a str], after: &[&'a str], lengths: &[Vec<u16>]) -> Vec<(char, &'a str)> {
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while i < before.len() || j < after.len() {
        if i < before.len() && j < after.len() && before[i] == after[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == after.len() || (i < before.len() && lengths[i + 1][j] >= lengths[i][j + 1]) {
            out.push(('-', before[i]));
            i += 1;
        } else {
            out.push(('+', after[j]));
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        assert_eq!(lines(&["a", "b", "c"], &["a", "b", "c"]), []);
        assert_eq!(lines(&["a", "b", "c"], &["a", "x", "c", "d"]), [('-', "b"), ('+', "x"), ('+', "d")]);
        assert_eq!(lines(&[], &["a"]), [('+', "a")]);
        assert_eq!(lines(&["a", "a"], &["a"]), [('-', "a")]);
    }

    #[test]
    fn two_long_texts_are_shown_whole() {
        let before = vec!["a"; LINES_MAX + 1];
        assert_eq!(lines(&before, &["b"]).len(), LINES_MAX + 2);
    }
}
