/* Cold plans: which files a view reads, and the text of the query over them.
 *
 * The tail's arm comes first and files newest first (a LIMIT on recent rows ends early). Files without
 * deleted rows are read without a join, files of the present schema without a schema MAP: both cost. */
#include "table/table_int.h"

#include <stdlib.h>

/* ---- grouping ---- */

typedef struct planner {
    ice_view *v;
    ice_arena *a;
    ice__plan *plan;
    bool past;        /* AS_OF a time before the flush, or before a file that was staged after it */
    bool want_start;  /* _row_start is among the columns */
    ice_column *cols; /* of the definition, then _row_start, _row_end, _operation */
    size_t ndef;
    ice__dead *by_tail, *by_overlay;
} planner;

static bool same_branch(const ice__branch *x, const ice__branch *y)
{
    return x->published == y->published && x->evolved == y->evolved && x->deletes == y->deletes &&
           x->ended == y->ended && x->has_start == y->has_start && x->fixed_start == y->fixed_start &&
           x->start == y->start && x->check_start == y->check_start;
}

static ice_code add_to_branch(planner *p, const ice__branch *like, uint32_t file, ice_error *err)
{
    ice__plan *plan = p->plan;
    size_t i = 0;
    while (i < plan->nbranches && !same_branch(&plan->branches[i], like))
        i++;
    ice__branch *b = &plan->branches[i];
    if (i == plan->nbranches) {
        *b = *like;
        b->files = ICE_NEW_N(p->a, uint32_t, like->published->nfiles + 1);
        if (!b->files)
            return ice_fail_nomem(err);
        plan->nbranches++;
    }
    b->files[b->nfiles++] = file;
    plan->nfiles++;
    if (b->evolved)
        plan->evolved_rows += (uint64_t)b->published->files[file].entry.file.record_count;
    return ICE_OK;
}

/* Columns that a branch reads from its files. */
static size_t stored_columns(const planner *p, const ice__branch *b, ice_column *out)
{
    size_t n = p->ndef;
    memcpy(out, p->cols, n * sizeof *out);
    if (b->has_start && !b->fixed_start)
        out[n++] = p->cols[p->ndef];
    if (b->history) {
        out[n++] = p->cols[p->ndef + 1];
        out[n++] = p->cols[p->ndef + 2];
    }
    return n;
}

static bool needs_start(const planner *p, const ice__branch *b)
{
    return p->want_start || b->check_start;
}

static void describe_file(planner *p, const ice__file *f, ice__branch *b, ice_column *scratch)
{
    b->check_start =
        p->past || p->v->mode == ICE_VIEW_VERSIONS ? f->has_start && f->max_start > p->v->at : false;
    if (needs_start(p, b)) {
        b->has_start = f->has_start;
        b->fixed_start = f->fixed_start;
        b->start = f->fixed_start ? f->min_start : 0;
    }
    size_t n = stored_columns(p, b, scratch);
    b->evolved = ice__file_evolved(b->published, f, scratch, n);
}

static ice_code add_current(planner *p, uint32_t i, ice_column *scratch, ice_error *err)
{
    ice_published *s = p->v->state->published;
    const ice__file *f = &s->files[i];
    bool versions = p->v->mode == ICE_VIEW_VERSIONS;
    ice__branch b = {.published = s};
    if ((p->past || versions) && f->has_start && f->min_start > p->v->at)
        return ICE_OK;
    uint64_t rows = (uint64_t)f->entry.file.record_count;
    uint64_t deleted = f->dv_entry ? (uint64_t)f->dv_entry->file.record_count : 0;
    uint64_t by_tail = ice__dead_in_file(p->by_tail, i, p->v->at);
    uint64_t by_overlay = ice__dead_in_file(p->by_overlay, i, INT64_MAX);
    if (!versions && (deleted + by_tail >= rows || deleted + by_overlay >= rows))
        return ICE_OK; /* no row is left: after a bulk statement on all of them */
    b.deletes = f->dv_entry || (!versions && by_tail) || by_overlay;
    b.ended = versions && by_tail;
    describe_file(p, f, &b, scratch);
    return add_to_branch(p, &b, i, err);
}

static ice_code add_history(planner *p, ice_published *h, uint32_t i, ice_column *scratch, ice_error *err)
{
    const ice__file *f = &h->files[i];
    ice__branch b = {.published = h, .history = true, .deletes = f->dv_entry != NULL};
    if (f->has_start && f->min_start > p->v->at)
        return ICE_OK;
    if (p->past && f->max_end <= p->v->at)
        return ICE_OK;
    describe_file(p, f, &b, scratch);
    return add_to_branch(p, &b, i, err);
}

static ice_code plan_history(planner *p, const ice_probe *probe, ice_column *scratch, ice_error *err)
{
    ice_published *h;
    ice_code rc;
    ICE_TRY(ice__published_history(p->v->state->published, &h, err));
    if (!h)
        return ICE_OK;
    ice__branch *grown = ICE_NEW_N(p->a, ice__branch, p->plan->nbranches + h->nfiles + 1);
    if (!grown)
        return ice_fail_nomem(err);
    if (p->plan->nbranches)
        memcpy(grown, p->plan->branches, p->plan->nbranches * sizeof *grown);
    p->plan->branches = grown;
    p->plan->nfiles_total += h->nfiles;
    for (size_t i = 0; i < h->nfiles; i++)
        if (ice__probe_keeps(probe, true, i))
            ICE_TRY(add_history(p, h, (uint32_t)i, scratch, err));
out:
    return rc;
}

static bool tail_matters(const planner *p)
{
    ice_tail_counts counts;
    ice_tail_counts_get(p->v->state->tail, &counts);
    bool before = p->v->mode == ICE_VIEW_AS_OF && p->v->at < p->v->state->flushed;
    if (counts.versions && !before)
        return true;
    return p->v->overlay && p->v->mode == ICE_VIEW_CURRENT;
}

/* Clean files first, each kind together: the order of files within a kind is kept. */
static int by_cost(const void *x, const void *y)
{
    const ice__branch *b = x, *c = y;
    int left = b->history * 8 + (b->deletes || b->ended) * 4 + b->evolved * 2 + b->fixed_start;
    int right = c->history * 8 + (c->deletes || c->ended) * 4 + c->evolved * 2 + c->fixed_start;
    if (left != right)
        return left - right;
    return b->files[0] < c->files[0] ? -1 : b->files[0] > c->files[0];
}

static ice_code plan_files(planner *p, const ice_probe *probe, ice_error *err)
{
    ice_published *s = p->v->state->published;
    ice_code rc = ICE_OK;
    ice_column *scratch = ICE_NEW_N(p->a, ice_column, p->ndef + 4);
    p->plan->branches = ICE_NEW_N(p->a, ice__branch, s->nfiles + 1);
    if (!scratch || !p->plan->branches)
        return ice_fail_nomem(err);
    p->plan->nfiles_total = s->nfiles;
    ICE_TRY(ice__dead_of_view(p->v, &p->by_tail, &p->by_overlay, err));
    for (size_t i = 0; i < s->nfiles; i++)
        if (ice__probe_keeps(probe, false, i))
            ICE_TRY(add_current(p, (uint32_t)i, scratch, err));
    if (p->past || p->v->mode == ICE_VIEW_VERSIONS)
        ICE_TRY(plan_history(p, probe, scratch, err));
    qsort(p->plan->branches, p->plan->nbranches, sizeof *p->plan->branches, by_cost);
out:
    ice__dead_unref(p->by_tail);
    ice__dead_unref(p->by_overlay);
    return rc;
}

/* The tail's arm learns which columns the statement reads, and proves them of the files (source.c). */
static bool something_to_prove(const ice__plan *plan)
{
    for (size_t i = 0; i < plan->nbranches; i++)
        for (size_t k = 0; k < plan->branches[i].nfiles; k++)
            if (!ice__file_proved(&plan->branches[i].published->files[plan->branches[i].files[k]]))
                return true;
    return false;
}

static ice_code planner_init(planner *p, ice_view *v, bool with_start, ice_arena *a, ice__plan *plan,
                             ice_error *err)
{
    static const int32_t all[] = {ICE_FIELD_ROW_START, ICE_FIELD_ROW_END, ICE_FIELD_OPERATION, 0};
    size_t n;
    *p = (planner){.v = v, .a = a, .plan = plan, .ndef = v->state->def->ncols};
    p->past = v->mode == ICE_VIEW_AS_OF && !ice__view_is_present(v);
    p->want_start = with_start || v->mode == ICE_VIEW_VERSIONS;
    return ice__columns(v->state->def, all, a, &p->cols, &n, err);
}

ice_code ice__plan_view(ice_view *v, bool with_start, const ice_probe *probe, ice_arena *a, ice__plan *out,
                        ice_error *err)
{
    planner p;
    ice_code rc;
    *out = (ice__plan){0};
    ICE_TRY(planner_init(&p, v, with_start, a, out, err));
    if (v->state->published)
        ICE_TRY(plan_files(&p, probe, err));
    out->tail = tail_matters(&p) || out->nbranches == 0 || out->evolved_rows > 0 || something_to_prove(out);
out:
    return rc;
}

/* ---- text ---- */

/* History knows ends that the view's time has not reached yet. */
static void put_end(const planner *p, const ice__branch *br, const ice_column *c, ice_buf *b)
{
    if (br->history) {
        ice_buf_puts(b, "CASE WHEN f.\"_row_end\" <= ");
        ice__put_time(p->v->at, b);
        ice_buf_puts(b, " THEN f.");
        ice_buf_put_ident(b, c->name);
        ice_buf_puts(b, " END");
    } else if (br->ended) {
        ice_buf_puts(b, "e.");
        ice_buf_put_ident(b, c->name);
    } else {
        ice__put_null(c, b);
    }
}

/* "_row_place" of a branch's rows: __file counts its files. */
static void put_place(const ice__branch *br, ice_buf *b)
{
    ice_buf_puts(b, "CAST([");
    for (size_t i = 0; i < br->nfiles; i++)
        ice_buf_printf(b, "%s%u", i ? ", " : "", br->files[i]);
    ice_buf_puts(b, "][f.\"__file\" + 1] AS BIGINT) * 4294967296 + f.file_row_number");
}

static void put_column(const planner *p, const ice__branch *br, const ice_column *c, ice_buf *b)
{
    if (c->field_id == ICE_FIELD_ROW_PLACE) {
        put_place(br, b);
    } else if (c->field_id == ICE_FIELD_ROW_END || c->field_id == ICE_FIELD_OPERATION) {
        put_end(p, br, c, b);
    } else if (c->field_id == ICE_FIELD_ROW_START && br->fixed_start) {
        ice__put_time(br->start, b);
    } else if (c->field_id == ICE_FIELD_ROW_START && !br->has_start) {
        ice__put_null(c, b);
    } else {
        ice_buf_puts(b, "f.");
        ice_buf_put_ident(b, c->name);
    }
    ice_buf_puts(b, " AS ");
    ice_buf_put_ident(b, c->name);
}

static void put_join(const char *join, const char *kind, unsigned tag, size_t k, bool with_start,
                     const char *alias, ice_buf *b)
{
    ice_buf_printf(b,
                   " %s JOIN \"__ice_%u_%s_%zu%s\" AS %s ON f.\"__file\" = %s.\"file\" AND f.file_row_number "
                   "= %s.\"pos\"",
                   join, tag, kind, k, with_start ? "_s" : "", alias, alias, alias);
}

static void put_where(const planner *p, const ice__branch *br, ice_buf *b)
{
    const char *word = " WHERE ";
    if (br->check_start) {
        ice_buf_puts(b, word);
        if (br->fixed_start)
            ice__put_time(br->start, b);
        else
            ice_buf_puts(b, "f.\"_row_start\"");
        ice_buf_puts(b, " <= ");
        ice__put_time(p->v->at, b);
        word = " AND ";
    }
    if (br->history && p->past) {
        ice_buf_printf(b, "%sf.\"_row_end\" > ", word);
        ice__put_time(p->v->at, b);
    }
}

static ice_code put_branch(const planner *p, const ice__branch *br, size_t k, unsigned tag, bool with_start,
                           const ice_column *shown, size_t nshown, ice_buf *b, ice_error *err)
{
    ice_column *stored = ICE_NEW_N(p->a, ice_column, p->ndef + 4);
    ice_str *paths = ICE_NEW_N(p->a, ice_str, br->nfiles + 1);
    if (!stored || !paths)
        return ice_fail_nomem(err);
    for (size_t i = 0; i < br->nfiles; i++)
        paths[i] = br->published->files[br->files[i]].path;
    ice_buf_puts(b, "SELECT ");
    for (size_t i = 0; i < nshown; i++) {
        ice_buf_puts(b, i ? ", " : "");
        put_column(p, br, &shown[i], b);
    }
    ice_buf_puts(b, " FROM ");
    size_t n = stored_columns(p, br, stored);
    ice_parquet_scan_sql(paths, br->nfiles, stored, n, br->evolved,
                         br->deletes || br->ended || p->v->with_place, b);
    ice_buf_puts(b, " AS f");
    if (br->deletes)
        put_join("ANTI", "deleted", tag, k, with_start, "d", b);
    if (br->ended)
        put_join("LEFT", "ended", tag, k, with_start, "e", b);
    put_where(p, br, b);
    return ICE_OK;
}

static void put_tail(unsigned tag, bool with_start, const ice_column *shown, size_t nshown, ice_buf *b)
{
    ice_buf_puts(b, "SELECT ");
    for (size_t i = 0; i < nshown; i++) {
        bool operation = shown[i].field_id == ICE_FIELD_OPERATION;
        ice_buf_puts(b, i ? ", " : "");
        /* Of a live version the tail tells what made it. */
        ice_buf_puts(b, operation ? "CASE WHEN \"_row_end\" IS NOT NULL THEN " : "");
        ice_buf_put_ident(b, shown[i].name);
        ice_buf_puts(b, operation ? " END AS \"_operation\"" : "");
    }
    ice_buf_printf(b, " FROM \"__ice_%u_tail%s\"", tag, with_start ? "_s" : "");
}

ice_code ice__view_columns(const ice_view *v, bool with_start, ice_arena *a, ice_column **out, size_t *n,
                           ice_error *err)
{
    static const int32_t none[] = {0}, start[] = {ICE_FIELD_ROW_START, 0},
                         place[] = {ICE_FIELD_ROW_START, ICE_FIELD_ROW_PLACE, 0},
                         all[] = {ICE_FIELD_ROW_START, ICE_FIELD_ROW_END, ICE_FIELD_OPERATION, 0};
    const int32_t *system = v->mode == ICE_VIEW_VERSIONS ? all
                            : !with_start                ? none
                            : v->with_place              ? place
                                                         : start;
    return ice__columns(v->state->def, system, a, out, n, err);
}

ice_code ice__plan_sql(ice_view *v, const ice__plan *plan, unsigned tag, bool with_start, ice_arena *a,
                       ice_str *out, ice_error *err)
{
    ice_buf b = {0};
    ice_column *shown;
    size_t n;
    planner p;
    ice_code rc;
    ICE_TRY(planner_init(&p, v, with_start, a, NULL, err));
    ICE_TRY(ice__view_columns(v, with_start, a, &shown, &n, err));
    if (plan->tail)
        put_tail(tag, with_start, shown, n, &b);
    for (size_t i = 0; i < plan->nbranches; i++) {
        ice_buf_puts(&b, b.len ? " UNION ALL " : "");
        ICE_TRY(put_branch(&p, &plan->branches[i], i, tag, with_start, shown, n, &b, err));
    }
    ICE_TRY(ice_buf_check(&b, err));
    *out = ice_arena_str(a, ice_buf_str(&b));
    if (!out->ptr)
        rc = ice_fail_nomem(err);
out:
    ice_buf_free(&b);
    return rc;
}

/* ---- before the files are read ---- */

/* Beside the columns that a view shows a branch's conditions read system columns. */
static const int32_t in_conditions[] = {ICE_FIELD_ROW_START, ICE_FIELD_ROW_END, ICE_FIELD_OPERATION};

ice_code ice__plan_prove(const ice__plan *plan, const ice_column *cols, size_t n, ice_arena *a, ice_error *err)
{
    ice_column *all = ICE_NEW_N(a, ice_column, n + 3);
    ice_code rc = ICE_OK;
    if (!all)
        return ice_fail_nomem(err);
    if (n)
        memcpy(all, cols, n * sizeof *all);
    for (size_t i = 0; i < 3; i++)
        all[n + i] = *ice__system_column(in_conditions[i]);
    for (size_t i = 0; i < plan->nbranches; i++) {
        const ice__branch *b = &plan->branches[i];
        size_t use = n + (b->check_start || b->history ? 3 : 0);
        for (size_t k = 0; k < b->nfiles && rc == ICE_OK; k++)
            rc = ice__file_prove(&b->published->files[b->files[k]], all, use, err);
    }
    return rc;
}

/* ---- deleted rows ---- */

static ice_code list_rows(ice_view *v, const ice__branch *b, bool ended, ice__places *l, ice_error *err)
{
    ice__dead *by_tail = NULL, *by_overlay = NULL;
    const ice_dv *dv;
    ice_code rc = ICE_OK;
    if (!b->history)
        ICE_TRY(ice__dead_of_view(v, &by_tail, &by_overlay, err));
    for (size_t i = 0; i < b->nfiles; i++) {
        uint32_t file = b->files[i];
        l->file = (int64_t)i;
        if (!b->history && (ended || v->mode != ICE_VIEW_VERSIONS))
            ICE_TRY(ice__dead_each(by_tail, file, v->at, ice__places_add_dead, l, err));
        if (ended)
            continue;
        if (!b->history)
            ICE_TRY(ice__dead_each(by_overlay, file, INT64_MAX, ice__places_add_dead, l, err));
        ICE_TRY(ice__file_dv(b->published, &b->published->files[file], &dv, err));
        ICE_TRY(ice__places_add_vector(l, dv, err));
    }
out:
    ice__dead_unref(by_tail);
    ice__dead_unref(by_overlay);
    return rc;
}

ice_code ice__branch_source(ice_view *v, const ice__branch *b, bool ended, ice_source **out, ice_error *err)
{
    ice__places l = {0};
    ice_code rc;
    ICE_TRY(list_rows(v, b, ended, &l, err));
    ICE_TRY(ice__places_source(&l, ended, out, err));
out:
    ice__places_free(&l);
    return rc;
}
