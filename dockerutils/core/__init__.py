"""The ground floor: errors, children, files, what people see on a terminal."""
