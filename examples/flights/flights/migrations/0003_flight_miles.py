from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("flights", "0002_flight_passengers")]

    operations = [
        migrations.RenameField("flight", "distance", "miles"),
    ]
