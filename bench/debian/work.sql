create table item(id integer primary key, kind integer, name text, price real);
create table sale(id integer primary key, item integer, amount integer);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 15000)
insert into item select i, i * 7919 % 97, 'item ' || (i * 31337 % 10007), i % 1000 / 4.0 from n;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 50000)
insert into sale select i, 1 + i * 15013 % 15000, i % 13 from n;
create index by_kind on item(kind);
create index by_item on sale(item);
select kind, count(*), sum(price * amount) from sale join item on item.id = sale.item group by kind order by 3 desc, 1 limit 10;
select name, length(name), upper(name) from item where name like '%77%' order by name limit 10;
update item set price = price * 1.5 where kind in (select kind from item group by kind having avg(price) > 124);
select count(*), sum(price) from item where price > 100;
delete from sale where amount = 3;
select count(*), max(id) from sale;
select a.kind, count(*) from item a join item b on a.kind = b.kind and a.id < b.id where a.kind < 20 group by 1 order by 1;
