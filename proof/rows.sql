PRAGMA page_size = 8192;
PRAGMA cache_size = -65536;
PRAGMA mmap_size = 67108864;
PRAGMA journal_mode = MEMORY;
CREATE TABLE item (id INTEGER PRIMARY KEY, key INTEGER, name TEXT, value REAL, data BLOB);
BEGIN;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ROWS)
INSERT INTO item
SELECT i, i * 2654435761 % 1000003, 'item ' || (i * 7919 % 100000), i / 8.0,
       CASE WHEN i % 1000 = 0 THEN zeroblob(5000) ELSE NULL END
FROM n;
COMMIT;
CREATE INDEX by_key ON item (key);
CREATE INDEX by_name ON item (name, value);
SELECT count(*), sum(key), sum(length(name)), total(value), sum(length(data)) FROM item;
SELECT name, count(*), max(value) FROM item GROUP BY name ORDER BY 2 DESC, 1 LIMIT 5;
SELECT a.id, b.id FROM item a JOIN item b ON a.key = b.key AND a.id < b.id ORDER BY 1, 2 LIMIT 5;
SELECT length(group_concat(name, ',')) FROM item WHERE id % 3 = 0;
UPDATE item SET name = upper(name), value = -value WHERE id % 7 = 0;
DELETE FROM item WHERE id % 11 = 0;
SELECT count(*), total(value) FROM item WHERE name LIKE 'ITEM 1%';
VACUUM;
PRAGMA integrity_check;
ANALYZE;
