"""Takes a statement apart into its Shape.

Works on PostgreSQL's own parse tree (pglast). Names are resolved against the catalogue, scope by scope; what cannot be
resolved (views, functions, system tables) is named and skipped, never guessed.
"""

# pglast types every field as optional; what the grammar guarantees is not checked again.
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportOptionalIterable=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Sequence

import pglast
from pglast import ast
from pglast.enums import (
    A_Expr_Kind,
    BoolExprType,
    BoolTestType,
    NullTestType,
    SortByDir,
    SortByNulls,
    SubLinkType,
)

from ooda_dagster.advisor.shape import Order, Parameter, Shape, UnreadableStatementError, Use
from ooda_dagster.advisor.tree import Scope, bare, parameter_nodes, references, target_of, type_name, walk
from ooda_dagster.core.catalogue import Catalogue, Table
from ooda_dagster.core.fingerprint import MAX_PARSED_BYTES, kind_of

_RANGE = {"<", "<=", ">", ">="}
_FLIP = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def read_shape(text: str, catalogue: Catalogue) -> Shape:
    """Take a normalised statement apart. Raises UnreadableStatementError."""
    if len(text) > MAX_PARSED_BYTES:
        raise UnreadableStatementError("its text is too long to parse")
    try:
        statements = pglast.parse_sql(text)
    except pglast.Error as error:
        words = str(error.args[0]) if error.args else "syntax error"
        raise UnreadableStatementError(f"the parser does not read it: {words}") from None
    except (RecursionError, ValueError):
        raise UnreadableStatementError("the parser does not read it") from None
    if len(statements) != 1:
        raise UnreadableStatementError("it holds more than one statement")
    shape = Shape(text, kind_of(text))
    try:
        _Reader(catalogue, shape).statement(statements[0].stmt)
    except RecursionError:
        raise UnreadableStatementError("it is nested too deeply") from None
    return shape


class _Reader:
    def __init__(self, catalogue: Catalogue, shape: Shape) -> None:
        self._catalogue = catalogue
        self._shape = shape
        self._ctes: list[set[str]] = []

    # ------------------------------------------------------------------ statements

    def statement(self, node: ast.Node, outer: Scope | None = None) -> None:
        """Read a statement of any kind, also as a common table expression."""
        clause = getattr(node, "withClause", None)
        names = {cte.ctename for cte in clause.ctes} if clause else set()
        self._ctes.append(names)
        for cte in clause.ctes if clause else ():
            self.statement(cte.ctequery, outer)
        reader = {
            "SelectStmt": self._select,
            "InsertStmt": self._insert,
            "UpdateStmt": self._update,
            "DeleteStmt": self._delete,
            "MergeStmt": self._merge,
        }.get(type(node).__name__)
        if reader:
            reader(node, outer)
        else:
            self._inner(node, Scope(outer=outer))
        self._ctes.pop()

    def _select(self, node: ast.SelectStmt, outer: Scope | None) -> None:
        if node.larg is not None:
            self.statement(node.larg, outer)
            self.statement(node.rarg, outer)
            return
        scope = Scope(outer=outer)
        for item in node.fromClause or ():
            self._from(item, scope)
        self._condition(node.whereClause, scope)
        self._condition(node.havingClause, scope)
        for part in (node.targetList, node.valuesLists, node.distinctClause, node.windowClause):
            self._inner(part, scope)
        self._limit(node)
        self._order(node, scope)
        self._group(node.groupClause, scope)

    def _insert(self, node: ast.InsertStmt, outer: Scope | None) -> None:
        table = self._table(node.relation)
        self._shape.written = self._shape.written or table
        if node.selectStmt is not None:
            if table is not None:
                self._insert_parameters(node, table)
            self.statement(node.selectStmt, outer)
        if node.onConflictClause is not None:
            scope = Scope({table.name: Use(table, table.name)} if table else {}, outer)
            self._inner(node.onConflictClause, scope)

    def _insert_parameters(self, node: ast.InsertStmt, table: Table) -> None:
        columns = [c.name for c in node.cols] if node.cols else list(table.columns)
        for row in getattr(node.selectStmt, "valuesLists", None) or ():
            for name, value in zip(columns, row, strict=False):
                self._parameter(value, table, name, "=")

    def _update(self, node: ast.UpdateStmt, outer: Scope | None) -> None:
        scope = Scope(outer=outer)
        use = self._changed(node.relation, scope)
        for item in node.fromClause or ():
            self._from(item, scope)
        if use is not None:
            names = frozenset(t.name for t in node.targetList or () if t.name)
            self._shape.set_columns = self._shape.set_columns | names
            for target in node.targetList or ():
                self._parameter(target.val, use.table, target.name, "=")
        self._inner(node.targetList, scope)
        self._condition(node.whereClause, scope)

    def _delete(self, node: ast.DeleteStmt, outer: Scope | None) -> None:
        scope = Scope(outer=outer)
        self._changed(node.relation, scope)
        for item in node.usingClause or ():
            self._from(item, scope)
        self._condition(node.whereClause, scope)

    def _merge(self, node: ast.MergeStmt, outer: Scope | None) -> None:
        scope = Scope(outer=outer)
        self._changed(node.relation, scope)
        self._from(node.sourceRelation, scope)
        self._condition(node.joinCondition, scope)
        self._inner(node.mergeWhenClauses, scope)

    def _changed(self, relation: ast.RangeVar, scope: Scope) -> Use | None:
        table = self._table(relation)
        alias = relation.alias.aliasname if relation.alias else relation.relname
        if table is None:
            scope.uses[alias] = None
            return None
        self._shape.written = self._shape.written or table
        use = Use(table, alias)
        self._shape.uses.append(use)
        scope.uses[alias] = use
        return use

    # ------------------------------------------------------------------ FROM

    def _table(self, node: ast.RangeVar) -> Table | None:
        if node.schemaname is None and any(node.relname in names for names in self._ctes):
            return None
        table = self._catalogue.find(node.relname, node.schemaname)
        if table is None and (node.schemaname or "") not in ("pg_catalog", "information_schema"):
            self._shape.unresolved.add(".".join(p for p in (node.schemaname, node.relname) if p))
        return table

    def _from(self, item: ast.Node, scope: Scope) -> None:
        if isinstance(item, ast.RangeVar):
            table = self._table(item)
            alias = item.alias.aliasname if item.alias else item.relname
            use = Use(table, alias) if table else None
            if use:
                self._shape.uses.append(use)
            scope.uses[alias] = use
        elif isinstance(item, ast.JoinExpr):
            self._from(item.larg, scope)
            self._from(item.rarg, scope)
            for name in item.usingClause or ():
                for use in scope.uses.values():
                    if use is not None and name.sval in use.table.columns:
                        use.join.add(name.sval)
            self._condition(item.quals, scope)
        elif isinstance(item, ast.RangeSubselect):
            # A lateral subselect sees its siblings; an ordinary one does not refer to them, so seeing does no harm.
            self.statement(item.subquery, scope)
            scope.uses[item.alias.aliasname if item.alias else f"?{len(scope.uses)}"] = None
        else:
            alias = getattr(getattr(item, "alias", None), "aliasname", None) or f"?{len(scope.uses)}"
            scope.uses[alias] = None
            self._inner(item, scope)

    # ------------------------------------------------------------------ conditions

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
            else:
                found = scope.column(node.args[0])
                if found:
                    self._note("equal", found, scope, arm)
                else:
                    self._inner(node.args, scope)
            return
        if isinstance(node, ast.A_Expr):
            self._comparison(node, scope, arm)
        elif isinstance(node, ast.NullTest):
            found = scope.column(node.arg)
            if found and node.nulltesttype == NullTestType.IS_NULL:
                self._note("equal", found, scope, arm)
        elif isinstance(node, ast.BooleanTest):
            found = scope.column(node.arg)
            if found and node.booltesttype in (BoolTestType.IS_TRUE, BoolTestType.IS_FALSE):
                self._note("equal", found, scope, arm)
        elif isinstance(node, ast.ColumnRef):
            found = scope.column(node)
            if found:
                self._note("equal", found, scope, arm)
        elif isinstance(node, ast.SubLink):
            self._sublink(node, scope, arm)
        else:
            self._inner(node, scope)

    def _comparison(self, node: ast.A_Expr, scope: Scope, arm: bool) -> None:
        operator = node.name[-1].sval if node.name else ""
        if node.kind == A_Expr_Kind.AEXPR_BETWEEN or node.kind == A_Expr_Kind.AEXPR_BETWEEN_SYM:
            found = scope.column(bare(node.lexpr))
            bounds = list(node.rexpr)
            if found:
                self._note("range", found, scope, arm)
                for value, op in zip(bounds, (">=", "<="), strict=False):
                    self._parameter(value, found[0].table, found[1], op)
            self._inner(bounds, scope)
            return
        if node.kind in (A_Expr_Kind.AEXPR_IN, A_Expr_Kind.AEXPR_OP_ANY) and operator == "=":
            found = scope.column(bare(node.lexpr))
            if found:
                self._note("equal", found, scope, arm)
                many = node.kind == A_Expr_Kind.AEXPR_OP_ANY
                values = [node.rexpr] if many else list(node.rexpr)
                for value in values:
                    self._parameter(value, found[0].table, found[1], "=", many=many)
            self._inner(node.rexpr, scope)
            return
        if node.kind not in (A_Expr_Kind.AEXPR_OP, A_Expr_Kind.AEXPR_NOT_DISTINCT):
            self._like(node, operator, scope)
            return
        self._binary(node.lexpr, operator, node.rexpr, scope, arm)
        self._binary(node.rexpr, _FLIP.get(operator, operator), node.lexpr, scope, arm)
        self._inner([node.lexpr, node.rexpr], scope)

    def _like(self, node: ast.A_Expr, operator: str, scope: Scope) -> None:
        found = scope.column(bare(node.lexpr))
        if found:
            self._parameter(node.rexpr, found[0].table, found[1], operator)
        self._inner([node.lexpr, node.rexpr], scope)

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
        found = scope.column(bare(node.testexpr))
        if found and node.subLinkType == SubLinkType.ANY_SUBLINK:
            self._note("join", found, scope, arm)
        self.statement(node.subselect, scope)

    # ------------------------------------------------------------------ order, group, limit

    def _limit(self, node: ast.SelectStmt) -> None:
        for value, role in ((node.limitCount, "limit"), (node.limitOffset, "offset")):
            for parameter in parameter_nodes(value):
                self._shape.parameters[parameter.number] = Parameter(parameter.number, role=role)

    def _order(self, node: ast.SelectStmt, scope: Scope) -> None:
        keys: list[Order] = []
        owner: Use | None = None
        for item in node.sortClause or ():
            found = scope.column(bare(target_of(item.node, node.targetList)))
            if found is None or (owner is not None and found[0] is not owner):
                break  # a leading part in the index's order is all that an index can give
            owner = found[0]
            descending = item.sortby_dir == SortByDir.SORTBY_DESC
            nulls = {SortByNulls.SORTBY_NULLS_FIRST: True, SortByNulls.SORTBY_NULLS_LAST: False}.get(item.sortby_nulls)
            keys.append(Order(found[1], descending, nulls))
        self._inner(node.sortClause, scope)
        if owner is not None and scope.local(owner):
            owner.order = tuple(keys)
            owner.limited = node.limitCount is not None

    def _group(self, clause: Sequence[ast.Node] | None, scope: Scope) -> None:
        found = [scope.column(bare(item)) for item in clause or ()]
        owners = {id(f[0]): f[0] for f in found if f}
        if found and all(found) and len(owners) == 1:
            next(iter(owners.values())).group = tuple(f[1] for f in found if f)
        self._inner(clause, scope)

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
                    known = self._shape.parameters.get(parameter.number)
                    if known is None or known.column is None:
                        name = type_name(part)
                        role = "interval" if name == "interval" else "value"
                        self._shape.parameters[parameter.number] = Parameter(parameter.number, cast=name, role=role)
            elif isinstance(part, ast.A_Expr) and part.kind == A_Expr_Kind.AEXPR_OP and part.name:
                # ORDER BY embedding <-> $1: the parameter is of the column's type
                for one, other in ((part.lexpr, part.rexpr), (part.rexpr, part.lexpr)):
                    found = scope.column(bare(one))
                    if found and isinstance(other, ast.ParamRef):
                        known = self._shape.parameters.get(other.number)
                        if known is None or known.column is None:
                            self._parameter(other, found[0].table, found[1], part.name[-1].sval)
            elif isinstance(part, ast.ParamRef):
                self._shape.parameters.setdefault(part.number, Parameter(part.number))

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
