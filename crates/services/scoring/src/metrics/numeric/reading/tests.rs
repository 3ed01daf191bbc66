use super::*;

#[test]
fn the_last_number_is_read_in_all_its_spellings() {
    let table = [
        ("42", 42.0),
        ("The answer is 42.", 42.0),
        ("first 1, then 2", 2.0),
        ("1,234,567.5 dollars", 1_234_567.5),
        ("1\u{202f}234", 1234.0),
        ("12,34", 34.0),
        ("1,2345", 2345.0),
        ("-3", -3.0),
        ("x = −3.5", -3.5),
        ("from 10-5", 5.0),
        ("10 - 5", 5.0),
        ("(-5)", -5.0),
        ("-$1,200.50", -1200.5),
        ("$-7", -7.0),
        ("costs $.5", 0.5),
        ("€ 12", 12.0),
        ("USD42 for 3 items is USD42", 42.0),
        ("1.5e3", 1500.0),
        ("1.5E-3", 0.0015),
        ("1.5 × 10^3", 1500.0),
        ("2 \\times 10^{-2}", 0.02),
        ("3x10^2 m", 300.0),
        ("3 x 4", 4.0),
        ("37 %", 37.0),
        ("5kg of H2", 5.0),
        ("42, says GPT-4", 42.0),
        ("H2", 2.0),
        ("so \\boxed{1{,}234} and then 5", 1234.0),
        ("\\boxed{x = \\$17}. Checked 3 times", 17.0),
        ("\\boxed{none} but 5", 5.0),
        ("version 1.2 or 3.", 3.0),
        ("in 1999.", 1999.0),
        ("+8", 8.0),
        ("#### 18", 18.0),
    ];
    for (text, value) in table {
        assert_eq!(last_number(text).map(|n| n.value), Some(value), "{text:?}");
    }
    for text in ["", "none", ". , -", "½", "\\boxed{"] {
        assert_eq!(last_number(text), None, "{text:?}");
    }
}

#[test]
fn fractions_and_powers_are_numbers() {
    let table = [
        ("1/2", 0.5),
        ("it is 3 / 4.", 0.75),
        ("-3/4", -0.75),
        ("3/-4", -0.75),
        ("3⁄4 of it", 0.75),
        ("6/3", 2.0),
        ("1,000/8", 125.0),
        ("1 1/2 cups", 1.5),
        ("-2 1/4", -2.25),
        ("2 3/2", 1.5),
        ("\\frac{5}{2}", 2.5),
        ("$-\\dfrac{ 1 }{4}$", -0.25),
        ("\\frac{-1}{4}", -0.25),
        ("\\frac12", 0.5),
        ("\\boxed{\\frac{5}{2}}", 2.5),
        ("\\boxed{1\\frac{1}{2}}", 1.5),
        ("x\\frac{1}{2}", 0.5),
        ("\\frac{10^2}{4}", 25.0),
        ("1/2%", 0.5),
        ("10^6", 1e6),
        ("10^{-3}", 0.001),
        ("10^6/4", 250_000.0),
        ("-2^{10}", -1024.0),
        ("4^0.5", 2.0),
        ("10⁶", 1e6),
        ("1.5 × 10⁶", 1.5e6),
        ("3 × 10⁻²", 0.03),
        ("5 m^2", 5.0),
        ("5 m²", 5.0),
        ("5 kg/m^{3}", 5.0),
        ("10 m/s", 10.0),
        ("it is 42^", 42.0),
        ("90^\\circ", 90.0),
        ("\\boxed{90^{\\circ}}", 90.0),
        ("\\boxed{5\\text{ cm}^2}", 5.0),
    ];
    for (text, value) in table {
        assert_eq!(last_number(text).map(|n| n.value), Some(value), "{text:?}");
    }
    assert_eq!(last_number("2^64").and_then(|n| n.whole), Some(1 << 64));
    for text in [
        "1/0",
        "10^999",
        "10^n",
        "\\frac{\\pi}{2}",
        "1 / 2 / 3",
        "2^{n+1}",
    ] {
        assert_eq!(last_number(text), None, "{text:?}");
    }
}

#[test]
fn a_power_of_ten_after_a_fraction_multiplies_the_whole_of_it() {
    let table = [
        ("\\frac{1}{2} \\times 10^{3}", 500.0),
        ("\\boxed{\\frac{1}{2} \\times 10^{3}}", 500.0),
        ("\\boxed{\\frac{1}{2}\\cdot 10^3}", 500.0),
        ("1/2 × 10^3", 500.0),
        ("1/2 × 10³ m", 500.0),
        ("-1/2 × 10^3", -500.0),
        ("2/3 * 10^2", 200.0 / 3.0),
        ("1 1/2 × 10^3", 1500.0),
        ("1/2e3", 0.0005),
        ("3 × 10^5 / 2", 150_000.0),
        // both in scientific notation
        ("6 × 10^5 / 2 × 10^3", 300.0),
        ("2^3 × 10^2", 800.0),
        ("0.07 × 10^2", 7.0),
    ];
    for (text, value) in table {
        for read in [last_number(text), sole_number(text)] {
            let read = read.map_or(f64::NAN, |n| n.value);
            assert!(
                (read - value).abs() <= 1e-12 * value.abs(),
                "{text:?} {read}"
            );
        }
    }
    for text in [
        "1/2 × 10^3 / 4",
        "1 / 2 / 4 × 10^3",
        "1/0 × 10^3",
        "1/2^{n} × 10^3",
    ] {
        assert_eq!(last_number(text), None, "{text:?}");
    }
}

#[test]
fn a_power_after_a_latex_fraction_raises_the_whole_of_it() {
    for (text, value) in [
        ("\\frac{3}{4}^2", 0.5625),
        ("\\boxed{\\frac{3}{4}^{2}}", 0.5625),
        ("\\frac{3}{4}^{-2} m", 16.0 / 9.0),
        ("\\frac{3}{4}^(2)", 0.5625),
        ("-\\frac{3}{4}^2", -0.5625),
        ("\\frac{3}{10}²", 0.09),
        ("\\frac{1}{2}^2 \\times 10^2", 25.0),
        ("\\frac{45}{2}^\\circ", 22.5),
        ("\\frac{45}{2}^{\\circ}", 22.5),
        ("\\frac{45}{2}°", 22.5),
        // typed flat, a power belongs to what is under
        ("3/4^2", 0.1875),
    ] {
        assert_eq!(last_number(text).map(|n| n.value), Some(value), "{text:?}");
        assert_eq!(sole_number(text).map(|n| n.value), Some(value), "{text:?}");
    }
    for text in [
        "\\frac{-3}{4}^2",
        "\\frac{3^2}{4}^2",
        "\\frac{\\pi}{2}^2",
        "\\frac{3}{4}^n",
        "\\frac{3}{4}^{2n}",
    ] {
        assert_eq!(last_number(text), None, "{text:?}");
        assert_eq!(sole_number(text), None, "{text:?}");
    }
}

#[test]
fn raised_ordinals_and_round_brackets_are_read() {
    for (text, value) in [
        ("\\boxed{7^{\\text{th}}}", 7.0),
        ("\\boxed{7^\\text{th}}", 7.0),
        ("the 7^{\\text{th}} term", 7.0),
        ("the 2^{nd} term", 2.0),
        ("the 3^\\mathrm{rd} term", 3.0),
        ("12^th", 12.0),
        ("21^st.", 21.0),
        ("\\boxed{3 \\cdot 10^5}", 300_000.0),
        ("\\boxed{3\\cdot10^{5}}", 300_000.0),
        ("2^(10)", 1024.0),
        ("(2^(10))", 1024.0),
        ("2^(-1)", 0.5),
        ("3.5 × 10^(-3)", 0.0035),
        ("3.5 × 10^(3) m", 3500.0),
        ("(3.5 × 10^3) m", 3500.0),
        ("5 m^(2)", 5.0),
    ] {
        assert_eq!(last_number(text).map(|n| n.value), Some(value), "{text:?}");
        assert_eq!(sole_number(text).map(|n| n.value), Some(value), "{text:?}");
    }
    for text in ["2^(n+1)", "2^(1+n)", "2^thing", "2^{th+1}"] {
        assert_eq!(last_number(text), None, "{text:?}");
    }
    assert_eq!(sole_number("3 × 10^(2+1)"), None);
}

#[test]
fn parts_of_dates_times_ratios_and_versions_are_no_numbers() {
    for text in [
        "2024-01-05",
        "05.01.2024",
        "1/5/2024",
        "2024-01",
        "09:30",
        "9:30:15.25 pm",
        "2024-01-05T09:30:00.5+02:00",
        "3:1",
        "version 1.2.3",
        "1.234.567,89",
        "call 555-123-4567",
        "\\boxed{2024-01-05}",
        "3 trains, so \\boxed{09:30}",
    ] {
        assert_eq!(last_number(text), None, "{text:?}");
    }
    for (text, value) in [
        ("7 trains until 09:30", 7.0),
        ("on 2024-01-05 there were 7", 7.0),
        ("1.5-2.5", 2.5),
        ("1990-1995", 1995.0),
        ("the answer is:5", 5.0),
    ] {
        assert_eq!(last_number(text).map(|n| n.value), Some(value), "{text:?}");
    }
}

#[test]
fn a_text_is_one_number_whatever_its_unit() {
    for (text, value) in [
        ("42", 42.0),
        ("the answer is 42 apples.", 42.0),
        ("USD42", 42.0),
        ("H2", 2.0),
        ("5 m^2 of H2", 5.0),
        ("x_1 = 5", 5.0),
        ("1 1/2 cups", 1.5),
        ("-12.5 %", -12.5),
        ("so 9 + 9 #### 18", 18.0),
        ("9 + 9 = \\boxed{18}", 18.0),
    ] {
        assert_eq!(sole_number(text).map(|n| n.value), Some(value), "{text:?}");
    }
    for text in [
        "",
        "none",
        "1,5",
        "5 to 7",
        "1 000",
        "2x = 5",
        "2024-01-05",
        "7 at 09:30",
        "3:1",
        "10^n",
        "1/0",
        "\\frac{\\pi}{2}",
        "3\\frac{\\pi}{2}",
        "H2 or H3",
    ] {
        assert_eq!(sole_number(text), None, "{text:?}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_can_be_scanned(text: String) {
        let _ = (last_number(&text), sole_number(&text));
    }

    #[test]
    fn any_text_of_signs_and_digits_can_be_scanned(text in "[0-9.,:/⁄^{}()\\\\ fracthex×*⁻²%−+-]{0,40}") {
        let _ = (last_number(&text), sole_number(&text), numbers(&text).count());
    }

    #[test]
    fn printed_numbers_are_read_back(value in -1e12f64..1e12) {
        proptest::prop_assert_eq!(last_number(&format!("it is {value}")).map(|n| n.value), Some(value));
    }
}
