//! Every kind of token, and any text.

use super::*;
use proptest::prelude::*;

fn tokens(text: &str) -> Vec<(TokenKind, &str)> {
    let mut lexer = Lexer::new(text);
    let mut found = Vec::new();
    loop {
        let token = lexer.next_token();
        if token.kind == TokenKind::End {
            return found;
        }
        found.push((token.kind, &text[token.start.0..token.end.0]));
    }
}

#[test]
fn every_kind_of_token_is_recognised() {
    use TokenKind as K;
    let bad_number = K::Bad("a malformed number");
    let cases = [
        ("select", K::Word),
        ("a1_B", K::Word),
        ("\"a \"\"b\"", K::QuotedName),
        ("'it''s'", K::String),
        ("''", K::String),
        ("$$ it's $ $$", K::String),
        ("$$$$", K::String),
        ("0", K::Integer),
        ("123", K::Integer),
        ("1.5", K::Float),
        ("1.", K::Float),
        ("1e5", K::Float),
        ("1.5E-10", K::Float),
        ("1e+5", K::Float),
        ("0x", K::Blob),
        ("0XabCD1", K::Blob),
        ("123e4567-e89b-12d3-a456-426614174000", K::Uuid),
        ("abcdef12-E89B-12d3-a456-426614174000", K::Uuid),
        ("1y2mo3w4d5h6m7s8ms9us10µs11ns", K::Duration),
        ("3D", K::Duration),
        ("P1Y2M3DT4H5M6S", K::Duration),
        ("P3W", K::Duration),
        ("PT5M", K::Duration),
        ("P0001-02-03T04:05:06", K::Duration),
        ("P1", K::Word),
        ("PT", K::Word),
        ("p3w", K::Word),
        ("P1D_x", K::Word),
        ("12abc", bad_number),
        ("0xfg", bad_number),
        ("1h2", bad_number),
        ("1e", bad_number),
        ("'a", K::Bad("a string that is not closed")),
        ("'a''", K::Bad("a string that is not closed")),
        ("$$ a $", K::Bad("a string that is not closed")),
        ("\"a", K::Bad("a quoted name that is not closed")),
        ("/* a *", K::Bad("a comment that is not closed")),
        ("#", K::Bad("a character that CQL does not use")),
        ("ü", K::Bad("a character that CQL does not use")),
        ("!", K::Bad("a character that CQL does not use")),
    ];
    for (text, kind) in cases {
        assert_eq!(tokens(text), [(kind, text)], "{text}");
    }
}

#[test]
fn tokens_need_no_blanks_between_them() {
    let texts = |text| tokens(text).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    assert_eq!(texts("a>=-5.0e3<=?b!=:c"), ["a", ">=", "-", "5.0e3", "<=", "?", "b", "!=", ":", "c"]);
    assert_eq!(texts("ks.t(a,b);"), ["ks", ".", "t", "(", "a", ",", "b", ")", ";"]);
    assert_eq!(texts("[1..2]{'a':1}"), ["[", "1", "..", "2", "]", "{", "'a'", ":", "1", "}"]);
    assert_eq!(texts("a+=1 b-=2"), ["a", "+=", "1", "b", "-=", "2"]);
}

#[test]
fn blanks_and_comments_are_skipped() {
    let text = "\t-- one\r\n// two\nA/* three\n * */B--end";
    assert_eq!(tokens(text), [(TokenKind::Word, "A"), (TokenKind::Word, "B")]);
    assert_eq!(tokens("--"), []);
    assert_eq!(tokens("/**/"), []);
}

proptest! {
    #[test]
    fn tokens_of_any_text_are_in_order_and_end(text in ".{0,200}") {
        let mut lexer = Lexer::new(&text);
        let mut end = 0;
        for _ in 0..=text.len() {
            let token = lexer.next_token();
            prop_assert!(token.start.0 >= end && token.end.0 >= token.start.0);
            prop_assert!(text.get(token.start.0..token.end.0).is_some());
            if token.kind == TokenKind::End {
                return Ok(());
            }
            prop_assert!(token.end.0 > token.start.0);
            end = token.end.0;
        }
        prop_assert!(false, "the text does not end");
    }
}
