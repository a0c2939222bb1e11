"""Small questions to PostgreSQL's parse tree: which column is meant, what is below a node."""

# pglast types every field as optional; what the grammar guarantees is not checked again.
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportOptionalOperand=false
# pyright: reportArgumentType=false, reportOperatorIssue=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pglast import ast

from ooda_dagster.advisor.shape import Use


@dataclass
class Scope:
    """The tables that names can mean at one level; None stands for something that is no table of ours."""

    uses: dict[str, Use | None] = field(default_factory=dict)
    outer: Scope | None = None

    def column(self, node: ast.Node | None) -> tuple[Use, str] | None:
        """The table and column that a reference means, here or further out."""
        if not isinstance(node, ast.ColumnRef) or not node.fields or not isinstance(node.fields[-1], ast.String):
            return None
        names = [str(f.sval) for f in node.fields if isinstance(f, ast.String)]
        name = names[-1]
        scope: Scope | None = self
        while scope is not None:
            if len(names) > 1:
                if names[-2] in scope.uses:
                    use = scope.uses[names[-2]]
                    return (use, name) if use is not None and name in use.table.columns else None
            else:
                owners = [u for u in scope.uses.values() if u is not None and name in u.table.columns]
                if len(owners) == 1:
                    return owners[0], name
                if owners or any(u is None for u in scope.uses.values()):
                    return None  # ambiguous, or perhaps a column of something that we cannot see into
            scope = scope.outer
        return None

    def local(self, use: Use) -> bool:
        return any(u is use for u in self.uses.values())


def bare(node: ast.Node | None) -> ast.Node | None:
    """Without a collation around it. A cast stays: an index on the column does not serve what is made of it."""
    while isinstance(node, ast.CollateClause):
        node = node.arg
    return node


def target_of(node: ast.Node, targets: Sequence[ast.ResTarget] | None) -> ast.Node | None:
    """What `ORDER BY 2` or `ORDER BY alias` means."""
    if isinstance(node, ast.A_Const) and isinstance(node.val, ast.Integer):
        position = node.val.ival
        return targets[position - 1].val if targets and 0 < position <= len(targets) else None
    if isinstance(node, ast.ColumnRef) and len(node.fields) == 1 and isinstance(node.fields[0], ast.String):
        for target in targets or ():
            if target.name == node.fields[0].sval:
                return target.val
    return node


def type_name(node: ast.Node | None) -> str | None:
    if not isinstance(node, ast.TypeCast):
        return None
    return node.typeName.names[-1].sval + ("[]" if node.typeName.arrayBounds else "")


def walk(node: object) -> Iterator[ast.Node]:
    """Nodes below `node`, not entering subselects (they are yielded, their owner goes on)."""
    if isinstance(node, (tuple, list)):
        for item in node:
            yield from walk(item)
    elif isinstance(node, ast.Node):
        yield node
        if not isinstance(node, (ast.SubLink, ast.SelectStmt)):
            for name in node:
                yield from walk(getattr(node, name))


def references(node: object) -> list[ast.ColumnRef]:
    return [part for part in walk(node) if isinstance(part, ast.ColumnRef)]


def parameter_nodes(node: object) -> list[ast.ParamRef]:
    return [part for part in walk(node) if isinstance(part, ast.ParamRef)]
