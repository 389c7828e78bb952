// SPDX-License-Identifier: MIT OR Apache-2.0
//! Columns that line up, as wide as their content, and as many of them as fit.

use crate::output::{Line, Style, width};

/// On which side the content of a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A column's title and place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) align: Align,
    /// Where not all fit, the column with the greatest number is left out first; those with 0 never are.
    pub(crate) rank: u8,
}

/// Rows of cells, one for each column.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<(Style, String)>>,
    indent: usize,
}

/// The blanks between two columns.
const GAP: usize = 2;

impl Table {
    pub(crate) fn new(columns: Vec<Column>, indent: usize) -> Self {
        Table { columns, rows: Vec::new(), indent }
    }

    /// Adds a row; it has as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: Vec<(Style, String)>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The line of titles, and the line of each row. Columns that do not fit `limit` are left out.
    pub(crate) fn lines(&self, limit: Option<usize>) -> (Line, Vec<Line>) {
        let widths: Vec<usize> = (0..self.columns.len()).map(|column| self.width_of(column)).collect();
        let shown = self.shown(&widths, limit);
        let titles = self.columns.iter().map(|column| (Style::Dim, column.title.to_owned())).collect::<Vec<_>>();
        let line = |cells: &[(Style, String)]| self.line(cells, &shown, &widths);
        (line(&titles), self.rows.iter().map(|row| line(row)).collect())
    }

    fn width_of(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| width(&row[column].1)).max().unwrap_or(0);
        cells.max(width(self.columns[column].title))
    }

    fn shown(&self, widths: &[usize], limit: Option<usize>) -> Vec<usize> {
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let needed = |shown: &[usize]| {
            self.indent + shown.iter().map(|&column| widths[column] + GAP).sum::<usize>().saturating_sub(GAP)
        };
        while limit.is_some_and(|limit| needed(&shown) > limit) {
            let least = shown.iter().copied().max_by_key(|&column| self.columns[column].rank);
            let Some(least) = least.filter(|&column| self.columns[column].rank > 0) else { break };
            shown.retain(|&column| column != least);
        }
        shown
    }

    fn line(&self, cells: &[(Style, String)], shown: &[usize], widths: &[usize]) -> Line {
        let mut line = Line::of(Style::Plain, " ".repeat(self.indent));
        for (place, &column) in shown.iter().enumerate() {
            let (style, text) = &cells[column];
            if place > 0 {
                line.push(Style::Plain, " ".repeat(GAP));
            }
            let blanks = " ".repeat(widths[column].saturating_sub(width(text)));
            match self.columns[column].align {
                Align::Left => {
                    line.push(*style, text.clone());
                    line.push(Style::Plain, blanks);
                }
                Align::Right => {
                    line.push(Style::Plain, blanks);
                    line.push(*style, text.clone());
                }
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let column = |title, align, rank| Column { title, align, rank };
        let columns = vec![
            column("id", Align::Right, 0),
            column("name", Align::Left, 0),
            column("often", Align::Right, 1),
            column("note", Align::Left, 2),
        ];
        let mut table = Table::new(columns, 2);
        for cells in [["1", "é", "7", "x"], ["22", "longer", "123456", ""]] {
            table.row(cells.map(|cell| (Style::Plain, cell.to_owned())).to_vec());
        }
        table
    }

    fn texts(limit: Option<usize>) -> Vec<String> {
        let (titles, rows) = table().lines(limit);
        let plain = |line: &Line| {
            let text: String = line.pieces().map(|(_, text)| text).collect();
            text.trim_end().to_owned()
        };
        std::iter::once(&titles).chain(&rows).map(plain).collect()
    }

    #[test]
    fn columns_are_as_wide_as_their_content() {
        let expected = ["  id  name     often  note", "   1  é            7  x", "  22  longer  123456"];
        assert_eq!(texts(None), expected);
        assert_eq!(texts(Some(26)), expected);
    }

    #[test]
    fn the_least_important_columns_go_first() {
        assert_eq!(texts(Some(25))[0], "  id  name     often");
        assert_eq!(texts(Some(19))[0], "  id  name");
        assert_eq!(texts(Some(3))[0], "  id  name", "those of rank 0 stay");
    }
}
