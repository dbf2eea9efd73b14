//! "Did you mean": the known word that is nearest to an unknown one.

/// Most edits between a typing error and the word that was meant; more, and the suggestion misleads.
const DISTANCE_MAX: usize = 3;

/// The known word that the writer of `word` probably meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    // A word of three letters is three edits away from any other; allow fewer in short ones.
    let allowed = DISTANCE_MAX.min(word.chars().count() / 2);
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&word, &known.to_ascii_lowercase()), known))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, known)| known)
}

/// `, did you mean "…"?`, or nothing where no known word is near.
pub fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map(|near| format!(", did you mean {near:?}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_word_and_a_foreign_word_finds_none() {
        let known = ["on-failure", "priority", "rule"];
        assert_eq!(nearest("on_failure", known), Some("on-failure"));
        assert_eq!(nearest("Prioriti", known), Some("priority"));
        assert_eq!(nearest("rul", known), Some("rule"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }
}
