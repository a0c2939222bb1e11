"""What do conditions and expressions ask of their tables? The part of the reader that looks below WHERE and ON."""

# pglast types every field as optional; what the grammar guarantees is not checked again.
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportOptionalIterable=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

from abc import ABC, abstractmethod

from pglast import ast
from pglast.enums import A_Expr_Kind, BoolExprType, BoolTestType, NullTestType, SubLinkType

from ooda_dagster.advisor.shape import Parameter, Shape, Use
from ooda_dagster.advisor.tree import Scope, bare, parameter_nodes, references, type_name, walk
from ooda_dagster.core.catalogue import Table

_RANGE = {"<", "<=", ">", ">="}
_FLIP = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_BETWEEN = {A_Expr_Kind.AEXPR_BETWEEN, A_Expr_Kind.AEXPR_BETWEEN_SYM}
_NOT_BETWEEN = {A_Expr_Kind.AEXPR_NOT_BETWEEN, A_Expr_Kind.AEXPR_NOT_BETWEEN_SYM}
_OF_MANY = {A_Expr_Kind.AEXPR_IN, A_Expr_Kind.AEXPR_OP_ANY, A_Expr_Kind.AEXPR_OP_ALL}


class Conditions(ABC):
    """Notes in `shape` which columns are compared with what, and where parameters stand."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    @abstractmethod
    def statement(self, node: ast.Node, outer: Scope | None = None) -> None:
        """Read a statement of any kind."""

    def _condition(self, node: ast.Node | None, scope: Scope, *, arm: bool = False) -> None:
        """Conjuncts of a WHERE, ON or HAVING; `arm`: within an OR."""
        if node is None:
            return
        if isinstance(node, ast.BoolExpr):
            if node.boolop == BoolExprType.AND_EXPR:
                for part in node.args:
                    self._condition(part, scope, arm=arm)
            elif node.boolop == BoolExprType.OR_EXPR:
                for part in node.args:
                    self._condition(part, scope, arm=True)
            elif not self._flag(node.args[0], scope, arm):
                self._inner(node.args, scope)
        elif isinstance(node, ast.A_Expr):
            self._comparison(node, scope, arm)
        elif isinstance(node, ast.NullTest):
            if node.nulltesttype != NullTestType.IS_NULL or not self._flag(node.arg, scope, arm):
                self._inner(node.arg, scope)
        elif isinstance(node, ast.BooleanTest):
            telling = node.booltesttype in (BoolTestType.IS_TRUE, BoolTestType.IS_FALSE)
            if not telling or not self._flag(node.arg, scope, arm):
                self._inner(node.arg, scope)
        elif isinstance(node, ast.SubLink):
            self._sublink(node, scope, arm)
        elif not self._flag(node, scope, arm):
            self._inner(node, scope)

    def _flag(self, node: ast.Node | None, scope: Scope, arm: bool) -> bool:
        """A column alone, in WHERE, NOT, IS NULL: it is compared with one value. False: it is no column."""
        found = scope.column(node)
        if found:
            self._note("equal", found, scope, arm)
        return found is not None

    def _comparison(self, node: ast.A_Expr, scope: Scope, arm: bool) -> None:
        operator = node.name[-1].sval if node.name else ""
        if isinstance(node.lexpr, ast.RowExpr):
            self._row(node, operator, scope, arm)
        elif node.kind in _BETWEEN | _NOT_BETWEEN:
            found = scope.column(bare(node.lexpr))
            if found:
                if node.kind in _BETWEEN:
                    self._note("range", found, scope, arm)
                for value, op in zip(node.rexpr, (">=", "<="), strict=False):
                    self._parameters(value, found[0].table, found[1], op)
        elif node.kind in _OF_MANY:
            self._of_many(node, operator, scope, arm)
        elif node.kind in (A_Expr_Kind.AEXPR_OP, A_Expr_Kind.AEXPR_NOT_DISTINCT):
            self._binary(node.lexpr, operator, node.rexpr, scope, arm)
            self._binary(node.rexpr, _FLIP.get(operator, operator), node.lexpr, scope, arm)
        elif found := scope.column(bare(node.lexpr)):  # LIKE and its kin
            self._parameter(node.rexpr, found[0].table, found[1], operator)
        self._inner([node.lexpr, node.rexpr], scope)

    def _of_many(self, node: ast.A_Expr, operator: str, scope: Scope, arm: bool) -> None:
        """`a IN ($1, $2)`, `a = ANY($1)`, `a <> ALL($1)`."""
        found = scope.column(bare(node.lexpr))
        if found is None:
            return
        if operator == "=" and node.kind != A_Expr_Kind.AEXPR_OP_ALL:
            self._note("equal", found, scope, arm)
        inner = node.rexpr.arg if isinstance(node.rexpr, ast.TypeCast) else node.rexpr
        if isinstance(inner, ast.A_ArrayExpr):
            values, many = inner.elements or (), False
        elif isinstance(node.rexpr, tuple):
            values, many = node.rexpr, False
        else:
            values, many = (node.rexpr,), True
        for value in values:
            self._parameter(value, found[0].table, found[1], operator, many=many)

    def _row(self, node: ast.A_Expr, operator: str, scope: Scope, arm: bool) -> None:
        """`(a, b) = ($1, $2)` compares each pair; `(a, b) > ($1, $2)` is a range that the leading column begins."""
        rows = node.rexpr if isinstance(node.rexpr, tuple) else (node.rexpr,)
        for row in rows:
            for position, (left, right) in enumerate(
                zip(node.lexpr.args, getattr(row, "args", None) or (), strict=False)
            ):
                if operator == "=" or (operator in _RANGE and position == 0):
                    self._binary(left, operator, right, scope, arm)
                    self._binary(right, _FLIP.get(operator, operator), left, scope, arm)
                elif found := scope.column(bare(left)):
                    self._parameters(right, found[0].table, found[1], operator)

    def _binary(self, left: ast.Node | None, operator: str, right: ast.Node | None, scope: Scope, arm: bool) -> None:
        found = scope.column(bare(left))
        if found is None:
            return
        use, column = found
        others = [scope.column(ref) for ref in references(right)]
        if any(o is not None and o[0] is use for o in others):
            return  # compares two columns of one table: no index helps
        self._parameters(right, use.table, column, operator)
        if operator == "=":
            joins = any(o is not None and scope.local(o[0]) for o in others)
            self._note("join" if joins else "equal", found, scope, arm)
        elif operator in _RANGE:
            self._note("range", found, scope, arm)

    def _note(self, role: str, found: tuple[Use, str], scope: Scope, arm: bool) -> None:
        use, column = found
        if not scope.local(use):
            use.join.add(column)  # a subselect's condition on an outer table: a join from outside
        elif arm and role != "join":
            use.any_of.add(column)
        else:
            getattr(use, role).add(column)

    def _sublink(self, node: ast.SubLink, scope: Scope, arm: bool) -> None:
        if node.subLinkType == SubLinkType.ANY_SUBLINK:
            for part in node.testexpr.args if isinstance(node.testexpr, ast.RowExpr) else (node.testexpr,):
                if found := scope.column(bare(part)):
                    self._note("join", found, scope, arm)
        self._inner(node.testexpr, scope)
        self.statement(node.subselect, scope)

    # ------------------------------------------------------------------ what is inside

    def _inner(self, node: object, scope: Scope) -> None:
        """Subselects and parameters anywhere below a node."""
        for part in walk(node):
            if isinstance(part, ast.SubLink):
                self._sublink(part, scope, False)
            elif isinstance(part, ast.SelectStmt):
                self.statement(part, scope)
            elif isinstance(part, ast.TypeCast):
                for parameter in parameter_nodes(part.arg):
                    if not self._placed(parameter):
                        name = type_name(part)
                        role = "interval" if name == "interval" else "value"
                        self._shape.parameters[parameter.number] = Parameter(parameter.number, cast=name, role=role)
            elif isinstance(part, ast.A_Expr) and part.kind == A_Expr_Kind.AEXPR_OP and part.name:
                # ORDER BY embedding <-> $1: the parameter is of the column's type
                for one, other in ((part.lexpr, part.rexpr), (part.rexpr, part.lexpr)):
                    found = scope.column(bare(one))
                    if found and isinstance(other, ast.ParamRef) and not self._placed(other):
                        self._parameter(other, found[0].table, found[1], part.name[-1].sval)
            elif isinstance(part, ast.ParamRef):
                self._shape.parameters.setdefault(part.number, Parameter(part.number))

    def _placed(self, node: ast.ParamRef) -> bool:
        """Whether it is known already which column a parameter is compared with."""
        known = self._shape.parameters.get(node.number)
        return known is not None and known.column is not None

    def _parameter(
        self, node: ast.Node | None, table: Table, column: str, operator: str, *, many: bool = False
    ) -> None:
        """Note that a value compared with (or put into) a column is a parameter."""
        inner = node.arg if isinstance(node, ast.TypeCast) else node
        if isinstance(inner, ast.ParamRef):
            cast = type_name(node) if isinstance(node, ast.TypeCast) else None
            self._shape.parameters[inner.number] = Parameter(inner.number, table, column, operator, many, cast)

    def _parameters(self, node: ast.Node | None, table: Table, column: str, operator: str) -> None:
        self._parameter(node, table, column, operator)
        if isinstance(node, ast.A_Expr) and type_name(node.rexpr) == "interval":
            for parameter in parameter_nodes(node.rexpr):  # created_at > now() - $1::interval
                self._shape.parameters[parameter.number] = Parameter(
                    parameter.number, table, column, operator, cast="interval", role="interval"
                )
