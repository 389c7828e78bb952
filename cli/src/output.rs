// SPDX-License-Identifier: MIT OR Apache-2.0
//! Standard output: lines of styled words, in colour and cut to width only where a person looks.

use std::env;
use std::io::{self, IsTerminal, Stdout, Write};

use terminal_size::{Height, Width, terminal_size_of};

/// How a word looks in colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Bold,
    Dim,
    Good,
    Warning,
    Bad,
}

impl Style {
    /// The number of the terminal's control sequence.
    const fn code(self) -> &'static str {
        match self {
            Style::Plain => "0",
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Good => "32",
            Style::Warning => "33",
            Style::Bad => "31",
        }
    }
}

/// One line, in pieces of one style each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line(Vec<(Style, String)>);

impl Line {
    pub(crate) fn new() -> Self {
        Line::default()
    }

    pub(crate) fn of(style: Style, text: impl Into<String>) -> Self {
        let mut line = Line::new();
        line.push(style, text);
        line
    }

    pub(crate) fn push(&mut self, style: Style, text: impl Into<String>) {
        self.0.push((style, text.into()));
    }

    /// How many columns the line takes.
    pub(crate) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| width(text)).sum()
    }

    #[cfg(test)]
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (Style, &str)> {
        self.0.iter().map(|(style, text)| (*style, text.as_str()))
    }

    fn render(&self, colour: bool, limit: Option<usize>) -> String {
        let cut = limit.filter(|&limit| self.width() > limit);
        // The last column tells that something is missing.
        let mut left = cut.map_or(usize::MAX, |limit| limit.saturating_sub(1));
        let mut rendered = String::new();
        for (style, text) in &self.0 {
            let shown: String = text.chars().take(left).collect();
            left -= width(&shown);
            if colour && *style != Style::Plain && !shown.trim().is_empty() {
                rendered += &format!("\x1b[{}m{shown}\x1b[0m", style.code());
            } else {
                rendered += &shown;
            }
        }
        if cut.is_some() {
            rendered.push('…');
        }
        rendered.truncate(rendered.trim_end().len());
        rendered
    }
}

pub(crate) fn width(text: &str) -> usize {
    text.chars().count()
}

/// Text from outside, such as a command's name, without characters that would control the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Pieces in one line, `gap` blanks between them, or in several where they do not fit, of which all but the first are
/// `indent`ed.
pub(crate) fn wrapped(pieces: Vec<(Style, String)>, gap: usize, indent: usize, limit: Option<usize>) -> Vec<Line> {
    let mut lines = vec![Line::new()];
    for (style, text) in pieces {
        let Some(line) = lines.last_mut() else { break };
        let used = line.width();
        if used > indent && limit.is_some_and(|limit| used + gap + width(&text) > limit) {
            let mut next = Line::of(Style::Plain, " ".repeat(indent));
            next.push(style, text);
            lines.push(next);
            continue;
        }
        if used > 0 {
            line.push(Style::Plain, " ".repeat(gap));
        }
        line.push(style, text);
    }
    lines
}

/// Standard output, and what is known of who reads it.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: Stdout,
    /// Somebody looks at it, on a screen that can be cleared.
    pub(crate) terminal: bool,
    colour: bool,
    width: Option<usize>,
}

impl Output {
    pub(crate) fn new() -> Self {
        let stdout = io::stdout();
        let dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let terminal = stdout.is_terminal() && !dumb;
        let colour = terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let columns = env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).filter(|&columns| columns > 0);
        let width = columns.or_else(|| Some(size_of_terminal(&stdout)?.0));
        Output { stdout, terminal, colour, width }
    }

    /// The columns there are; None where there is no limit.
    pub(crate) fn width(&self) -> Option<usize> {
        self.width
    }

    /// Writes the lines at once.
    pub(crate) fn lines(&mut self, lines: &[Line]) -> io::Result<()> {
        let text: String = lines.iter().map(|line| line.render(self.colour, self.width) + "\n").collect();
        self.text(&text)
    }

    /// Writes the lines in place of all that the screen shows; what is below its last line is left out.
    pub(crate) fn screen(&mut self, lines: &[Line]) -> io::Result<()> {
        let height = size_of_terminal(&self.stdout).map_or(usize::MAX, |(_, height)| height.saturating_sub(1));
        // Home, each line with the rest of the old one erased, then all below: without flicker.
        let mut text = String::from("\x1b[H");
        for line in lines.iter().take(height) {
            text += &line.render(self.colour, self.width);
            text += "\x1b[K\n";
        }
        text += "\x1b[J";
        self.text(&text)
    }

    /// Writes one line of JSON, or with `pretty` several.
    pub(crate) fn json(&mut self, value: &impl serde::Serialize, pretty: bool) -> io::Result<()> {
        let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        self.text(&(text? + "\n"))
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        let mut stdout = self.stdout.lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }
}

fn size_of_terminal(stdout: &Stdout) -> Option<(usize, usize)> {
    let (Width(width), Height(height)) = terminal_size_of(stdout)?;
    // A terminal without a size says 0.
    (width > 0 && height > 0).then_some((usize::from(width), usize::from(height)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        let mut line = Line::of(Style::Bold, "état");
        line.push(Style::Plain, "  rest ");
        line
    }

    #[test]
    fn colour_only_on_demand() {
        assert_eq!(line().render(false, None), "état  rest");
        assert_eq!(line().render(true, None), "\x1b[1métat\x1b[0m  rest");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_says_so() {
        assert_eq!(line().width(), 11);
        assert_eq!(line().render(false, Some(11)), "état  rest");
        assert_eq!(line().render(false, Some(8)), "état  r…");
        assert_eq!(line().render(false, Some(3)), "ét…");
        assert_eq!(line().render(true, Some(3)), "\x1b[1mét\x1b[0m…");
    }

    #[test]
    fn pieces_go_to_the_next_line_where_they_do_not_fit() {
        let pieces = || ["one", "two", "three"].map(|text| (Style::Plain, text.to_owned())).to_vec();
        let texts = |limit| -> Vec<String> {
            wrapped(pieces(), 2, 2, limit).iter().map(|line| line.render(false, limit)).collect()
        };
        assert_eq!(texts(None), ["one  two  three"]);
        assert_eq!(texts(Some(15)), ["one  two  three"]);
        assert_eq!(texts(Some(14)), ["one  two", "  three"]);
        assert_eq!(texts(Some(4)), ["one", "  t…", "  t…"]);
    }

    #[test]
    fn names_cannot_control_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\u{9b}\nc é"), "a?[2Jb??c é");
    }
}
